"""A template from outside, rendered: in Jinja's sandbox, in a process of its own, with limits that end it.

The sandbox alone ends nothing: nested loops ran 60 s and took 2.9 GB in transformers 5.23. Run as a script, this file
is that process; it imports nothing of the package, so that it starts quickly.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MEMORY = 512 * 2**20


def rendered(template: str, values: Mapping[str, Any], *, seconds: float = 2.0, characters: int = 200_000) -> str:
    """What a template makes of JSON-like values. Raises `UnsafeFile` at a limit or when it reaches into Python.

    seconds: time that rendering may take, of the clock.
    characters: length that the text may have.
    """
    from transfuse.core.errors import UnsafeFile, UsageError

    try:
        order = json.dumps({"template": template, "values": dict(values), "seconds": seconds, "characters": characters})
    except (TypeError, ValueError) as error:
        raise UsageError(f"`values` must be of the kind that JSON holds, but is not: {error}.") from None
    command = [sys.executable, "-I", str(Path(__file__))]
    try:
        made = subprocess.run(command, input=order.encode(), capture_output=True, timeout=seconds + 5, check=False)
        answer = json.loads(made.stdout)
    except (subprocess.TimeoutExpired, ValueError):  # killed: by the clock, the processor's time or for its memory
        answer = {"error": "it was stopped: it took too long or too much memory"}
    if "error" in answer:
        raise UnsafeFile(f"The template was refused: {answer['error']}. Give one of your own.")
    return str(answer["text"])


def _render(order: Mapping[str, Any]) -> dict[str, str]:
    """In the child: the text, or what stopped it."""
    from jinja2 import ext, nodes
    from jinja2.exceptions import SecurityError
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(ext.Extension):
        tags = {"generation"}  # noqa: RUF012 - Jinja's own way

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise ValueError(message)

    extensions: list[Any] = ["jinja2.ext.loopcontrols", "jinja2.ext.do", Generation]
    house = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    house.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, indent=how.get("indent"))
    house.globals["raise_exception"] = raise_exception
    pieces, left = [], int(order["characters"])
    try:
        for piece in house.from_string(order["template"]).generate(**order["values"]):
            left -= len(piece)
            if left < 0:
                return {"error": f"its text is longer than {order['characters']:,} characters"}
            pieces.append(piece)
    except SecurityError as error:
        return {"error": f"it reaches into Python ({error})"}
    except MemoryError:
        return {"error": "it took too much memory"}
    except Exception as error:
        return {"error": f"it fails ({type(error).__name__}: {str(error)[:200]})"}
    return {"text": "".join(pieces)}


def _limited(seconds: float) -> None:
    """Memory, processor's time and clock end this process, not the caller's patience."""
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 2, int(seconds) + 3))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    given = json.load(sys.stdin)
    import jinja2.sandbox  # noqa: F401 - loading it is not what the limits are for

    _limited(given["seconds"])
    print(json.dumps(_render(given)))
