"""Whatever is done to a good file, a judgement comes out: 1,000 broken copies of each format."""

import io
import multiprocessing
import runpy
import time
from pathlib import Path

import pytest

from transfuse.weights.scanning import inspecting
from transfuse.weights.scanning.findings import Judgement
from transfuse.weights.scanning.inspecting import judge_stream

MAKERS = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks/fuzzing_seeds_formats.py"))
SEEDS, ISOLATED = MAKERS["SEEDS"], MAKERS["ISOLATED"]
ALL = {**SEEDS, **ISOLATED}
NEEDS_ITS_SHARD = "variables.index"


@pytest.mark.parametrize("name", ALL)
def test_good_files_are_not_rejected(name: str, tmp_path: Path) -> None:
    if name == NEEDS_ITS_SHARD:
        (tmp_path / "variables.data-00000-of-00001").write_bytes(bytes(8))
    (tmp_path / name).write_bytes(ALL[name]())
    judgement = inspecting.judge_file(tmp_path / name)
    assert judgement.verdict == ("ask" if name == "config.yaml" else "accept"), judgement.findings


@pytest.mark.parametrize("name", SEEDS)
def test_a_thousand_broken_copies_give_a_judgement_each(name: str, broken_copies) -> None:
    good = SEEDS[name]()
    for copy in broken_copies(good, 7, 1000):
        began = time.monotonic()
        judgement = judge_stream(io.BytesIO(copy), len(copy), Path("/nowhere") / name)
        assert isinstance(judgement, Judgement)
        assert all(finding.reason and finding.advice for finding in judgement.findings)
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.gguf", "model.onnx", "model.keras", "model.skops", "model.h5"]
)
def test_no_cut_file_is_accepted(name: str, tmp_path: Path) -> None:
    good = ALL[name]()
    for length in range(0, len(good) - 1, max(1, len(good) // 60)):
        (tmp_path / name).write_bytes(good[:length])
        assert inspecting.judge_file(tmp_path / name).verdict == "reject", length


def _judge_all(copies: list[bytes]) -> None:
    for copy in copies:
        assert isinstance(judge_stream(io.BytesIO(copy), len(copy), Path("/nowhere/model.h5")), Judgement)


def test_broken_copies_of_hdf5_are_judged_or_end_their_process_alone(broken_copies) -> None:
    """HDF5's library in C dies of a few; then the process of its own dies, which a scan tells as a rejection."""
    copies, died = list(broken_copies(ISOLATED["model.h5"](), 7, 1000)), 0
    for start in range(0, 1000, 100):
        process = multiprocessing.get_context("fork").Process(target=_judge_all, args=(copies[start : start + 100],))
        process.start()
        process.join(60)
        assert process.exitcode is not None, "it hangs"
        assert process.exitcode <= 0, "another exception than a judgement"
        died += process.exitcode < 0
    assert died <= 2
