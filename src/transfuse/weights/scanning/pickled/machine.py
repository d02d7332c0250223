"""A pickle played through without making anything: every instruction is followed on stand-ins, nothing is imported.

A pickle is a program for a stack machine, and only playing it through shows which names it imports: two texts may come
out of the memo, be overwritten there, or be put together by a call. The machine follows Python's `pickle.py` and knows
no object: a name is looked up in the lists of `names`, a call is judged by the rules of `pickle_calls`. What
no pickler writes is refused, even where it would do no harm: other readers may understand it differently.

Time is linear in the instructions, memory bounded, and nothing recurses.
"""

import struct
from collections.abc import Callable
from typing import IO, Any

from transfuse.weights.scanning.findings import refused
from transfuse.weights.scanning.pickled.literals import LITERALS, broken
from transfuse.weights.scanning.pickled.names import known
from transfuse.weights.scanning.pickled.steps import STEPS
from transfuse.weights.scanning.pickled.values import KEPT, Node, Symbol

_INSTRUCTIONS = 20_000_000  # half a minute
_OBJECTS = 2_000_000


STOPPING = {"pickle-broken", "pickle-length", "pickle-persistent", "pickle-computed-name", "pickle-stuck"}
"""Rules at which Python's own unpickler stops too."""


class Machine:
    """One walk through one pickle, from where the stream stands."""

    def __init__(self, stream: IO[bytes], end: int, *, where: str = "", kept: int = KEPT) -> None:
        self.stream, self.end, self.where, self.kept = stream, end, where, kept
        self.read = stream.read
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: list[Any] = []
        self.asked: dict[str, int] = {}
        """Names that a person must agree to, with the byte of each."""
        self.names = 0
        self.objects = 0
        self.frame = 0
        self.arrays = 0
        """Arrays that joblib laid between the instructions."""
        self.inside = 0
        """Pickles around this one, which lies in them as data."""
        self.look_up: Callable[[str, str], Symbol | None] = known
        self.persistent: Callable[[Machine, Any], Any] | None = None
        """What a persistent identifier stands for; None where the format has none."""
        self.finished: Callable[[Machine, Any], Any] = lambda machine, node: node
        """What BUILD leaves behind; joblib reads an array from the stream there."""

    def run(self) -> Any:
        """The stand-in for the object that the pickle makes. Raises `Refused`."""
        literals, steps, read = LITERALS.get, STEPS.get, self.read
        try:
            for _ in range(_INSTRUCTIONS):
                code = read(1)
                literal = literals(code)
                if literal is not None:
                    self.stack.append(literal(self))
                elif code == b".":
                    return self._result()
                else:
                    step = steps(code)
                    if step is None:
                        raise broken(self, f"it has the instruction {code!r}" if code else "it ends too early")
                    step(self)
        except (IndexError, struct.error, UnicodeDecodeError, OverflowError) as error:
            raise broken(self, f"an instruction does not find what it needs ({error})") from None
        raise refused("pickle-size", f"It has more than {_INSTRUCTIONS} instructions.", self.where)

    def _result(self) -> Any:
        result = self.stack.pop()
        if self.stack or self.marked:
            raise self.refuse("pickle-order", "It leaves objects behind that nothing uses: no pickler does that.")
        return result

    def refuse(self, rule: str, reason: str) -> Exception:
        """A refusal at this place."""
        return refused(rule, reason, self.where, self.stream.tell())

    def node(self, kind: str, info: Any = None) -> Node:
        """A new stand-in."""
        self.objects += 1
        if self.objects > _OBJECTS:
            raise self.refuse("pickle-size", f"It has more than {_OBJECTS} objects.")
        return Node(kind, info)

    def since_mark(self) -> list[Any]:
        """What was pushed since the last MARK."""
        items = self.stack
        self.stack = self.marked.pop()
        return items
