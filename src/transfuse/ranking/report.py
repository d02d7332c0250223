"""A ranking as a report: the leaderboard, what separates the first from the others in words, scores, costs, rounds."""

from collections.abc import Mapping, Sequence
from typing import Any

from transfuse.core.nouns import DataWarning, Report, Section, Task
from transfuse.measuring.intervals import paired
from transfuse.measuring.metrics import higher_is_better
from transfuse.ranking.halving import History
from transfuse.ranking.ordering import Placed
from transfuse.ranking.priors import Prior
from transfuse.ranking.scores import Cell

SCORES = ("logme", "leep", "nleep", "h_score", "transrate")
COSTS = ("depth", "features", "ms_an_example", "parameters", "megabytes", "licence")
_Z = 1.959964  # half the width of a 95 % interval, in standard errors
_ABOUT_SCORES = (
    "Higher is better in each column. They inform and do not decide: on published fine-tuning results a plain prior"
    " orders sources better. LEEP needs the head that the source was trained with ('no head': its weights have none;"
    " 'no head here': a depth below the last has none) and one class an example; the H-score is shrunk (Ledoit-Wolf);"
    " TransRate compares networks of one width only. Only candidates of the last round have scores."
)


def report(
    task: Task,
    history: History,
    further: Mapping[str, Mapping[str, Cell]],
    priors: Mapping[str, Prior],
    *,
    warnings: Sequence[DataWarning],
    seed: int,
    command: str,
) -> Report:
    """The report of a ranking; `further`: scores and milliseconds of the candidates of the last round, by name."""
    standing = history.standing
    first = standing[0][1]
    gaps = {placed.look.name: _gap(history, first, number, placed, seed) for number, placed in standing[1:]}
    rows = tuple(_row(number, placed, history, gaps, further, priors) for number, placed in standing)
    metric = first.look.metric
    sections = [
        Section(kind="table", title="Scores", content=_part(rows, ("source", *SCORES)), note=_ABOUT_SCORES),
        Section(kind="table", title="What each costs", content=_part(rows, ("source", *COSTS)), note=_about_costs()),
    ]
    if len(history.rounds) > 1:
        sections.append(_rounds(history))
    prior = ("prior",) if priors else ()
    return Report(
        title=f"{task.name}: {first.look.name} is {_place(standing)}",
        columns=("source", metric, "neighbours", "behind_first", "mean_rank", *prior),
        rows=rows,
        summary=tuple(_findings(history, gaps, priors)),
        sections=tuple(sections),
        warnings=(*history.warnings, *warnings, *_notes(standing), *task.warnings),
        command=command,
    )


def _gap(history: History, first: Placed, number: int, placed: Placed, seed: int) -> dict[str, float]:
    """What the first has over another on the examples that both saw, of the other's last round; positive: the first."""
    subset, everyone = history.rounds[number]
    leader = next(other for other in everyone if other.look.name == first.look.name)
    found = paired(
        subset.task.kind,
        first.look.metric,
        subset.examples.targets,
        leader.look.outputs_NC,
        placed.look.outputs_NC,
        seed=seed,
        groups=subset.examples.groups,
    )
    return {**found, "standard_error": (found["high"] - found["low"]) / (2 * _Z)}


def _row(
    number: int,
    placed: Placed,
    history: History,
    gaps: Mapping[str, Mapping[str, float]],
    further: Mapping[str, Mapping[str, Cell]],
    priors: Mapping[str, Prior],
) -> dict[str, Any]:
    look = placed.look
    prior = priors.get(look.source.name)
    return {
        "source": look.name,
        look.metric: look.probe,
        "neighbours": look.neighbours,
        "behind_first": _without_n(gaps.get(look.name)),
        "mean_rank": round(placed.mean_rank, 3),
        "prior": prior.value if prior else None,
        "examples": len(history.rounds[number][0]),
        **{name: further.get(look.name, {}).get(name) for name in SCORES},
        "ms_an_example": further.get(look.name, {}).get("ms_an_example"),
        "features": look.features,
        "parameters": look.parameters,
        "megabytes": round(look.megabytes, 2),
        "licence": look.source.licence,
        "reference": look.source.reference,
        "depth": look.depth,
    }


def _without_n(gap: Mapping[str, float] | None) -> dict[str, float] | None:
    """The number of examples stands in the row already."""
    return None if gap is None else {name: value for name, value in gap.items() if name != "n"}


def _part(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...]) -> dict[str, Any]:
    """Some columns, of the rows that have a value beside their name."""
    kept = [row for row in rows if any(row[column] is not None for column in columns[1:])]
    return {"columns": list(columns), "rows": [{column: row[column] for column in columns} for row in kept]}


def _about_costs() -> str:
    return (
        "Milliseconds for one example on this machine, without reading it, for candidates of the last round; parameters"
        " and megabytes of the body up to the depth that was judged."
    )


def _rounds(history: History) -> Section:
    rows = [
        {
            "round": number + 1,
            "candidates": len(everyone),
            "examples each": len(subset),
            "best": everyone[0].look.name,
            everyone[0].look.metric: everyone[0].look.probe,
        }
        for number, (subset, everyone) in enumerate(history.rounds)
    ]
    note = "Few examples for all, all examples for few: features are extracted only for those who go on."
    return Section(kind="table", title="Rounds", content={"columns": list(rows[0]), "rows": rows}, note=note)


def _findings(history: History, gaps: Mapping[str, Mapping[str, float]], priors: Mapping[str, Prior]) -> list[str]:
    """Who is first, how surely, who else may be, and what looking cost."""
    standing = history.standing
    first = standing[0][1].look
    votes = "a cross-validated probe" + (", nearest neighbours and a prior" if priors else " and nearest neighbours")
    ranked = f", by the mean of its ranks by {votes}" if len(standing) > 1 else ": there is nothing to compare it with"
    sentences = [f"{first.name} is {_place(standing)}{ranked}."]
    if gaps:
        second = standing[1][1].look
        sentences.append(verdict(first.name, second.name, first.metric, gaps[second.name]))
        tied = [name for name, gap in gaps.items() if name != second.name and not gap["low"] > 0]
        if tied:
            shown = ", ".join(tied[:5]) + (f" and {len(tied) - 5} more" if len(tied) > 5 else "")
            sentences.append(f"Nor is {first.name} proven better than {shown}.")
    if priors:
        sentences.append(f"The prior is {next(iter(priors.values())).of}, known of {len(priors)} of the sources.")
    if len(history.rounds) > 1:
        sentences.append(_saved(history))
    return sentences


def _place(standing: Sequence[tuple[int, Placed]]) -> str:
    return f"first of {_counted(standing)}" if len(standing) > 1 else "the only source"


def _counted(standing: Sequence[tuple[int, Placed]]) -> str:
    sources = len({placed.look.source.name for _, placed in standing})
    told = f"{sources} source{'s' if sources > 1 else ''}"
    return told if sources == len(standing) else f"{len(standing)} depths of {told}"


def verdict(first: str, second: str, metric: str, gap: Mapping[str, float]) -> str:
    """The paired difference of two probes against its standard error, in words."""
    unit, scale = (" points", 100.0) if higher_is_better(metric) and metric != "r2" else ("", 1.0)
    value, low, high = (gap[end] * scale for end in ("value", "low", "high"))
    error = gap["standard_error"] * scale
    if not error > 0:
        return f"{first} and {second} cannot be compared: {metric} is undefined on these examples."
    if low > 0:
        said = f"{first} is proven better than the second, {second}"
    elif high < 0:
        said = f"The second, {second}, has the better probe, and provably so: {first} is first by the other votes"
    else:
        said = f"A tie: {first} is not proven better than the second, {second}"
    return (
        f"{said}: {value:+.2f}{unit} of {metric}, {abs(value) / error:.1f} standard errors of the paired difference"
        f" (95 % interval {low:+.2f} to {high:+.2f}, n = {gap['n']:.0f}, out of fold)."
    )


def _saved(history: History) -> str:
    sources = len({placed.look.source.name for _, placed in history.standing})
    most = len(history.rounds[-1][0])
    return (
        f"{history.pictures:,} pictures went through a network, in {len(history.rounds)} rounds, instead of"
        f" {sources * most:,} for {most:,} of each source."
    )


def _notes(standing: Sequence[tuple[int, Placed]]) -> list[DataWarning]:
    """What the probes of the last round have to say, each thing once."""
    notes = dict.fromkeys(note for number, placed in standing if number == standing[0][0] for note in placed.look.notes)
    return [DataWarning(code="cross-validation", message=note, severity="note") for note in notes]
