"""Configurations that say what to call: Hydra's `_target_`, as NeMo and many trainers keep beside their weights."""

import re
from collections.abc import Iterator

from transfuse.weights.scanning.findings import Finding

_TARGET = re.compile(rb"""["']?_target_["']?[ \t]*:[ \t]*(?:["']([^"'\n]*)["']|([^\s#,}]+))""")
_CLASS = re.compile(
    r"(nemo|lightning|pytorch_lightning|torch|torchvision|torchmetrics|transformers|timm|omegaconf)(\.\w+)*\.[A-Z]\w*"
)


def targets(text: bytes) -> Iterator[Finding]:
    """A question for every class of a known library that is to be made, a rejection for anything else."""
    for match in _TARGET.finditer(text):
        name = (match.group(1) or match.group(2) or b"").decode("utf-8", "replace")
        known = _CLASS.fullmatch(name)
        yield Finding(
            verdict="ask" if known else "reject",
            rule="configuration-target",
            reason=f"It names {name[:80]!r} to be called when the configuration is used.",
            byte=match.start(),
            advice="Open it only with a program that has a list of what may be called.",
        )
