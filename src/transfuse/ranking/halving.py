"""The rounds of a ranking: who takes part, who goes on, who is left out and why."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transfuse.core.errors import BudgetError, SourceError, WeightsError
from transfuse.core.nouns import DataWarning, Source
from transfuse.core.runs import Run
from transfuse.ranking.looking import Look, looks
from transfuse.ranking.ordering import Placed, ordered
from transfuse.ranking.priors import Prior
from transfuse.ranking.subsets import Round, Subset


@dataclass(kw_only=True)
class History:
    """What happened, round by round."""

    rounds: list[tuple[Subset, list[Placed]]] = field(default_factory=list)
    """Of each round that ended the examples and everyone who took part, best first."""
    pictures: int = 0
    """Passed through a network or read from the cache, summed over the sources."""
    warnings: list[DataWarning] = field(default_factory=list)

    @property
    def standing(self) -> list[tuple[int, Placed]]:
        """Every candidate with the number of its last round: who came further first."""
        seen: dict[str, tuple[int, Placed]] = {}
        for number in reversed(range(len(self.rounds))):
            for placed in self.rounds[number][1]:
                seen.setdefault(placed.look.name, (number, placed))
        return list(seen.values())


def halved(
    sources: Sequence[Source],
    depths: int,
    subsets: Sequence[Subset],
    rounds: Sequence[Round],
    *,
    priors: Mapping[str, Prior],
    seed: int,
    run: Run,
) -> History:
    """Judge all on few examples and fewer and fewer on more.

    A source that cannot be opened or whose features are not finite is a warning as long as another can be judged. When
    the time runs out, the last round that ended decides. Raises `BudgetError` when none did.
    """
    history = History()
    wanted: list[tuple[Source, int | Sequence[str]]] = [(source, depths) for source in sources]
    for number, (planned, subset) in enumerate(zip(rounds, subsets, strict=True)):
        if number:
            wanted = survivors(history.rounds[-1][1], planned.sources)
        judged = _judged(wanted, subset, history, seed, run, whole=number > 0)
        if not judged:
            break
        before = len(subsets[number - 1]) if number else 0
        history.pictures += len({look.source.name for look in judged}) * (len(subset) - before)
        history.rounds.append((subset, ordered(judged, priors)))
    return history


def survivors(everyone: Sequence[Placed], seats: int) -> list[tuple[Source, int | Sequence[str]]]:
    """The sources that go on, in the order of their best depths, with the better half of their depths.

    Seats are counted in sources, because the depths of one share a pass over the pictures.
    """
    depths: dict[str, list[str]] = {}
    sources = {}
    for placed in everyone:
        depths.setdefault(placed.look.source.name, []).append(placed.look.depth)
        sources[placed.look.source.name] = placed.look.source
    return [(sources[name], names[: math.ceil(len(names) / 2)]) for name, names in list(depths.items())[:seats]]


def _judged(
    wanted: Sequence[tuple[Source, int | Sequence[str]]],
    subset: Subset,
    history: History,
    seed: int,
    run: Run,
    *,
    whole: bool,
) -> list[Look]:
    """Everyone's look at the subset. Out of time: none where the round must be `whole`, otherwise of who was done."""
    found: list[Look] = []
    problems: list[SourceError | WeightsError] = []
    for place, (source, depths) in enumerate(wanted):
        run.watch({"stage": "ranking", "done": place, "total": len(wanted), "text": source.name})
        try:
            if run.remaining() <= 0:
                raise BudgetError("The time ran out.")
            found += looks(source, depths, subset, seed=seed, run=run)
        except BudgetError as error:
            history.warnings.append(_out_of_time(wanted[place:], subset, whole))
            if not whole and not found:
                raise BudgetError("The time ran out before one source was judged. Give a longer `budget`.") from error
            return [] if whole else found
        except (SourceError, WeightsError) as error:
            problems.append(error)
            history.warnings.append(left_out(source.reference, error))
    if not found and problems and not history.rounds:
        raise problems[0]
    return found


def left_out(reference: object, error: Exception) -> DataWarning:
    """The warning that a source takes no part."""
    return DataWarning(code="source-left-out", message=f"The source '{reference}' was left out: {error}")


def _out_of_time(late: Sequence[tuple[Source, int | Sequence[str]]], subset: Subset, whole: bool) -> DataWarning:
    names = ", ".join(source.name for source, _ in late)
    if whole:
        message = f"The time did not allow a round on {len(subset)} examples: the one before it decides."
    else:
        message = f"The time did not allow to judge {names}."
    return DataWarning(code="budget", message=message)
