"""HDF5: links and data outside the file, bombs, filters of plug-ins, texts that are pickles, heaps that never end."""

import json
import pickle
import struct
import sys

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")


def rules(judgement) -> list[str]:
    return [finding.rule for finding in judgement.findings]


def test_links_and_data_outside_are_refused(judged, made) -> None:
    def link(file) -> None:
        file["g/x"] = h5py.ExternalLink("other.h5", "/x")

    def external(file) -> None:
        file.create_dataset("v", shape=(8,), dtype="u1", external=[("/etc/hostname", 0, 8)])

    def virtual(file) -> None:
        layout = h5py.VirtualLayout(shape=(8,), dtype="u1")
        layout[:] = h5py.VirtualSource("other.h5", "x", shape=(8,))
        file.create_virtual_dataset("v", layout)

    for fill in (link, external, virtual):
        (finding,) = judged("w.h5", made.hdf5(fill)).findings
        assert finding.rule == "hdf5-external" and finding.where in ("/g/x", "/v")


def test_ordinary_files_pass(judged, made) -> None:
    def fill(file) -> None:
        file.create_dataset("zeros", data=np.zeros((512, 512)), compression="gzip")
        file.create_dataset("words", data=["a", "b"])
        file["again"] = file["zeros"]
        file["soft"] = h5py.SoftLink("/zeros")
        file["circle/up"] = file["/"]
        file.attrs["layer_names"] = [b"a", b"b"]
        file.attrs["reference"] = file["zeros"].ref
        file.attrs["empty"] = h5py.Empty("f")

    assert judged("w.h5", made.hdf5(fill)).verdict == "accept"


def test_bombs_are_refused_unread(judged, made) -> None:
    def bomb(file) -> None:
        file.create_dataset("v", shape=(2**40,), dtype="f8", chunks=(2**10,), compression="gzip")

    assert rules(judged("w.h5", made.hdf5(bomb))) == ["hdf5-bomb"]


def test_configurations_inside_are_judged(judged, made) -> None:
    evil = {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEAAAA" * 9, None, None]}}
    for name in ("model_config", "training_config"):
        for text in (json.dumps(evil), np.bytes_(json.dumps(evil))):
            judgement = judged("w.hdf5", made.hdf5(lambda file, n=name, t=text: file.attrs.__setitem__(n, t)))
            assert rules(judgement)[0] == "keras-lambda"
    shaped = made.hdf5(lambda file: file.attrs.__setitem__("model_config", [b"{}", b"{}"]))
    assert rules(judged("w.h5", shaped)) == ["hdf5-config"]


def test_texts_that_are_pickles_are_judged_as_such(judged, made) -> None:
    text = np.void(b"x"), np.bytes_(pickle.dumps(print, 0))
    judgement = judged("w.h5", made.hdf5(lambda file: file.attrs.__setitem__("TITLE", text[1])))
    assert judgement.verdict == "reject"


def test_the_first_block_must_be_true(judged, made) -> None:
    good = made.hdf5()
    assert rules(judged("w.h5", good[:-100])) == ["hdf5-truncated"]
    assert rules(judged("w.h5", good[:8] + b"\x09" + good[9:])) == ["hdf5-superblock"]
    assert rules(judged("w.h5", good[:13] + b"\x03" + good[14:])) == ["hdf5-superblock"]


def test_a_heap_whose_sizes_lie_is_refused_before_hdf5_loops_over_it(judged, made) -> None:
    good = made.hdf5()
    start = good.index(b"GCOL")
    for size in (0, 2**64 - 8, 2**63):
        data = bytearray(good)
        first = int.from_bytes(data[start + 24 : start + 32], "little")
        struct.pack_into("<Q", data, start + 16 + 16 + -(-first // 8) * 8 + 8, size)
        assert judged("w.h5", bytes(data)).verdict == "reject"


def test_without_its_reader_a_file_is_refused_and_the_reader_named(judged, made, monkeypatch) -> None:
    good = made.hdf5()
    monkeypatch.setitem(sys.modules, "h5py", None)
    (finding,) = judged("w.h5", good).findings
    assert finding.verdict == "reject" and "h5py" in finding.reason + finding.advice
    assert "pip install" in finding.advice
