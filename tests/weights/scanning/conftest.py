"""What the tests of scanning share: judging bytes under a name, small good files, and broken copies of them."""

import random
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from transfuse.weights.scanning.findings import Judgement
from transfuse.weights.scanning.inspecting import judge_file

_BORDERS = [0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


@pytest.fixture(scope="session")
def made() -> Any:
    """The makers of files that the fuzzing starts from."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[3] / "benchmarks/fuzzing_seeds_formats.py")))


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[str, bytes | str], Judgement]:
    """Writes bytes under a name and judges them."""

    def judge(name: str, data: bytes | str) -> Judgement:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return judge_file(path)

    return judge


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """What the payload of a hostile file would make."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


def mutated(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Copies with flipped bits, cuts, insertions, lengths at the borders of their types, and pieces moved."""
    chance = random.Random(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 4))):
            place, how = chance.randrange(len(copy) or 1), chance.randrange(5)
            if how == 0 and copy:
                copy[place] ^= 1 << chance.randrange(8)
            elif how == 1:
                del copy[place : place + chance.choice((1, 4, 8, len(copy)))]
            elif how == 2:
                width = chance.choice((1, 2, 4, 8))
                copy[place : place + width] = (chance.choice(_BORDERS) % 256**width).to_bytes(width, "little")
            elif how == 3:
                copy[place:place] = chance.randbytes(chance.choice((1, 4, 8)))
            else:
                copy[place:place] = copy[chance.randrange(len(copy) or 1) :][: chance.choice((1, 8, 64))]
        yield bytes(copy)


@pytest.fixture(scope="session")
def broken_copies() -> Callable[[bytes, int, int], Iterator[bytes]]:
    """`mutated`, for tests of other files."""
    return mutated
