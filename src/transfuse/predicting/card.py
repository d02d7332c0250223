"""The model card: what the model is, how good it is, where it came from, in one Markdown page."""

from transfuse.core.durations import spoken
from transfuse.core.nouns import Model
from transfuse.core.provenance import walk


def card(model: Model) -> str:
    """Markdown for the folder's README.md."""
    height, width = model.preprocessing.size
    classes = ", ".join(model.classes[:20]) + (
        f" and {len(model.classes) - 20} more" if len(model.classes) > 20 else ""
    )
    colours = "grey" if model.preprocessing.channels == 1 else "RGB"
    lines = [
        f"# {model.name}",
        "",
        f"- Task: {model.kind} {model.modality}, {len(model.classes)} outputs: {classes}",
        f"- Input: {height}×{width} {colours} pictures",
        f"- Parameters: {sum(p.numel() for p in model.network.parameters()):,}",
        f"- Licence of the source: {model.licence}",
        "",
        "## Measured",
        "",
        *(_measured(name, value) for name, value in model.metrics.items()),
        "",
        "## How it was made",
        "",
    ]
    for level, step in walk(model.provenance):
        title = " ".join(part for part in (step.verb, step.method) if part)
        lines.append(f"{'  ' * level}- {title} ({spoken(step.seconds)})")
    lines += [
        "",
        "## Use",
        "",
        "```python",
        "import transfuse as tr",
        'tr.load("THIS_FOLDER").predict(["picture.jpg"])',
        "```",
        "",
    ]
    return "\n".join(lines)


def _measured(name: str, value: object) -> str:
    if isinstance(value, dict) and "value" in value:
        return f"- {name}: {value['value']:.4f} (95 % interval {value['low']:.4f} to {value['high']:.4f}, n = {value['n']})"
    return f"- {name}: {value}"
