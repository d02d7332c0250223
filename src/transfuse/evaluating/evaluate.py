"""Model x Task -> Report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transfuse.core.nouns import Examples, Model, Report, Section, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.evaluating.compare import difference, in_words
from transfuse.evaluating.labelled import labelled
from transfuse.evaluating.out_of_scope import about_scope, reject_scores
from transfuse.evaluating.robust import Part, asked, robustness
from transfuse.evaluating.sections import detailed
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.encoding import coarser
from transfuse.predicting.folder import load
from transfuse.sources.inputs import expanded
from transfuse.tasks.texts.opening import texts_in


def evaluate(
    model: Model | str | Path,
    data: Any,
    *,
    split: str = "test",
    seed: int = 0,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
    outside: Any = None,
    robust: bool | Mapping[str, Any] = False,
    encode: str | None = None,
    **options: Any,
) -> Report:
    """Measure a model on labelled examples: every metric of its kind, with n and a bootstrap interval.

    `data` is a Task (its `split` is read), or whatever a Task can be opened from; class folders are matched to the
    model's classes by name. `outside`: inputs that belong to no class (texts: a table, a `.txt` file or strings), to
    measure how well they are noticed. `robust`: also attack the inputs and let noise and damage come over them; a
    mapping says `eps` (pixels of 0..1), `norm` (`linf`, `l2`), `attack` (`pgd`, `autoattack`) and how many `examples`.
    `encode`: make pictures coarser first, such as `jpeg:75`, and say what it costs against the pictures as they are,
    by paired differences. `options` name columns of a table (`target`, `text_column`, `path_column`, `group`,
    `weight`) or a `query`; the names are those that the model learnt from unless they are given. Raises `DataError`
    for classes that the model does not know.
    """
    wanted = asked(robust)
    model = model if isinstance(model, Model) else load(model, trust_code=trust_code)
    examples, warnings = labelled(model, data, split, options, run)
    plain_one = assess(model, examples, run=run) if encode is not None else None
    model = model if encode is None else coarser(model, encode)
    assessment = assess(model, examples, run=run)
    more, summary = _scope(model, data, examples, outside, seed, run)
    changed = robustness(model, examples, wanted, seed=seed, run=run) if wanted else Part()
    rows: list[dict[str, Any]] = [
        {"metric": name, "value": value} for name, value in assessment.all_measured(seed=seed).items()
    ]
    if plain_one is not None:
        rows, sentence = _beside(rows, assessment, plain_one, str(encode), seed)
        summary = (sentence, *summary)
    provenance = Section(kind="provenance", title="How the model was made", content=plain(model.provenance))
    return Report(
        title=f"{model.name} on {len(examples)} examples",
        columns=tuple(rows[0]),
        rows=(*rows, *changed.rows),
        summary=(*summary, *changed.summary),
        sections=(*more, *changed.sections, *detailed(assessment), provenance),
        warnings=tuple(warnings),
        command=command,
    )


def _beside(
    rows: list[dict[str, Any]], encoded: Assessment, plain_one: Assessment, encoding: str, seed: int
) -> tuple[list[dict[str, Any]], str]:
    """Rows with the figures of the pictures as they are, and the paired differences; what the encoding costs."""
    gaps = {row["metric"]: difference(encoded, plain_one, name=row["metric"], seed=seed) for row in rows}
    before = plain_one.all_measured(seed=seed)
    found = [{**row, "without": before[row["metric"]], "difference": gaps[row["metric"]]} for row in rows]
    metric = PRIMARY[encoded.kind]
    return found, in_words(f"{encoding}", "pictures as they are", metric, gaps[metric])


def _scope(
    model: Model, data: Any, examples: Examples, outside: Any, seed: int, run: Run
) -> tuple[tuple[Section, ...], tuple[str, ...]]:
    """Section and sentence about inputs from outside, when there are some."""
    if outside is None:
        return (), ()
    items = texts_in(outside) if model.modality == "text" else expanded(outside, model.preprocessing)
    train = data.splits.get("train") if isinstance(data, Task) else None
    section, sentence = about_scope(reject_scores(model, examples, items, train=train, run=run), seed=seed)
    return (section,), (sentence,)
