"""Two models on the same examples: the paired difference, which is far surer than two intervals side by side."""

from pathlib import Path
from typing import Any

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model, Report
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess, plain_row
from transfuse.evaluating.labelled import labelled
from transfuse.measuring.intervals import paired
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.folder import load


def difference(a: Assessment, b: Assessment, *, name: str | None = None, seed: int = 0) -> dict[str, float]:
    """Metric of a minus that of b on the same examples; positive when a is better."""
    if a.examples.digests != b.examples.digests:
        raise UsageError("Two models can be compared on the same examples only, but these saw different ones.")
    metric = name or PRIMARY[a.kind]
    return paired(a.kind, metric, a.targets, a.outputs_NC, b.outputs_NC, seed=seed, groups=a.examples.groups)


def in_words(name_a: str, name_b: str, metric: str, gap: dict[str, float]) -> str:
    """The paired difference as a sentence; says so when the interval includes 0."""
    share = metric not in ("rmse", "mae", "log_loss")
    unit, scale = (" points", 100.0) if share else ("", 1.0)
    value, low, high = (gap[end] * scale for end in ("value", "low", "high"))
    if low > 0:
        verdict = f"{name_a} is better than {name_b}"
    elif high < 0:
        verdict = f"{name_a} is worse than {name_b}"
    else:
        verdict = f"No difference between {name_a} and {name_b} is proven"
    return f"{verdict}: {value:+.2f}{unit} of {metric} (95 % interval {low:+.2f} to {high:+.2f}, n = {gap['n']:.0f})."


def capitalised(sentence: str) -> str:
    """The sentence with a large first letter, and all others as they are."""
    return sentence[:1].upper() + sentence[1:]


def compare(
    model_a: Model | str | Path,
    model_b: Model | str | Path,
    data: Any,
    *,
    split: str = "test",
    seed: int = 0,
    trust_code: bool = False,
    run: Run = Run(),
    **options: Any,
) -> Report:
    """Measure two models on the same examples, with the paired difference and its interval.

    `options` name columns of a table, as in `evaluate`; unless given they are those that the first model learnt from.
    """
    a, b = (m if isinstance(m, Model) else load(m, trust_code=trust_code) for m in (model_a, model_b))
    if a.classes != b.classes or a.kind != b.kind:
        raise UsageError(f"Two models must have the same classes to be compared, but '{a.name}' and '{b.name}' differ.")
    examples, warnings = labelled(a, data, split, options, run)
    first, second = assess(a, examples, run=run), assess(b, examples, run=run)
    rows = (plain_row(a.name, first, seed=seed), plain_row(b.name, second, seed=seed))
    metric = PRIMARY[a.kind]
    sentence = in_words(a.name, b.name, metric, difference(first, second, seed=seed))
    return Report(
        title=f"{a.name} against {b.name}",
        columns=tuple(rows[0]),
        rows=rows,
        summary=(sentence,),
        warnings=tuple(warnings),
    )
