"""Files of torch: names, lengths, layout; old and new containers; nothing beside the tensors."""

import collections
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

TENSORS = {"w": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(3, dtype=torch.int64)}


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


def saved(value: object, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def rewritten(data: bytes, change: Callable[[str, bytes], bytes | None], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", method) as new:
        for name in old.namelist():
            changed = change(name, old.read(name))
            if changed is not None:
                new.writestr(name, changed)
    return stream.getvalue()


def in_pickle(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    def change(name: str, data: bytes) -> bytes:
        assert not name.endswith("data.pkl") or old in data
        return data.replace(old, new, 1) if name.endswith("data.pkl") else data

    return change


def rule_of(judgement) -> str:
    assert judgement.verdict == "reject", judgement
    return judgement.findings[0].rule


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool", "complex64", "float8_e5m2", "uint16"])
def test_tensors_of_every_type_are_accepted(judged, legacy, dtype):
    value = {"w": torch.ones(3, 4).to(getattr(torch, dtype)), "empty": torch.zeros(0, 4), "scalar": torch.tensor(1.5)}
    assert judged("w.pt", saved(value, legacy=legacy)).findings == ()


@pytest.mark.parametrize("legacy", [False, True])
def test_views_parameters_and_what_surrounds_them_are_accepted(judged, legacy):
    base = torch.rand(6, 8)
    value = {
        "views": [base, base[2], base.T, base[1:, ::2], base[:1].expand(5, 8)],
        "state": collections.OrderedDict(w=torch.nn.Parameter(torch.ones(2))),
        "sparse": torch.eye(3).to_sparse(),
        "size": torch.Size([1]),
        "device": torch.device("cpu"),
        "epoch": 3,
    }
    assert judged("w.ckpt", saved(value, legacy=legacy)).findings == ()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_payload_is_refused_by_name(judged, marker, legacy):
    finding = judged("w.pt", saved({"w": TENSORS, "x": Payload(marker)}, legacy=legacy)).findings[0]
    assert finding.rule == "pickle-name" and "posix.system" in finding.reason


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_module_is_a_question(judged, legacy):
    judgement = judged("w.pt", saved(torch.nn.Linear(2, 2), legacy=legacy))
    assert judgement.verdict == "ask" and "torch.nn.modules.linear.Linear" in judgement.findings[0].reason


def test_a_flipped_bit_is_noticed(judged):
    data = bytearray(saved(TENSORS))
    data[data.index(struct.pack("<4f", 0, 1, 2, 3)) + 5] ^= 1
    assert rule_of(judged("w.pt", bytes(data))) == "checksum"


def test_a_wrong_checksum_does_not_hide_a_name(judged, marker):
    """CVE-2025-10156: scanners stopped at the checksum, torch did not."""
    stream = io.BytesIO(saved({"x": Payload(marker)}))
    with zipfile.ZipFile(stream) as archive:
        checksum = struct.pack("<I", next(e.CRC for e in archive.infolist() if e.filename.endswith("data.pkl")))
    data = stream.getvalue()
    assert data.count(checksum) >= 2
    assert rule_of(judged("w.pt", data.replace(checksum, b"abcd"))) == "pickle-name"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (b"K\x03K\x04\x86", b"K\x03K\x7f\x86", "tensor-outside"),
        (b"K\x04K\x01\x86", b"K\x09K\x01\x86", "tensor-outside"),
        (b"QK\x00K\x03", b"QK\x7fK\x03", "tensor-outside"),
        (b"QK\x00K\x03", b"QJ\xff\xff\xff\xffK\x03", "tensor-shape"),
        (b"K\x0ct", b"K\x0dt", "torch-storage"),
        (b"storage", b"strange", "torch-storage"),
        (b"FloatStorage", b"DoubleStorage", "torch-storage"),
    ],
)
def test_a_tensor_claims_no_more_than_its_storage_holds(judged, old, new, rule):
    assert rule_of(judged("w.pt", rewritten(saved({"w": TENSORS["w"]}), in_pickle(old, new)))) == rule


def test_a_record_that_is_shorter_than_claimed_is_refused(judged):
    """`torch.load` with `mmap=True` gives the neighbouring bytes as weights."""
    short = rewritten(saved(TENSORS), lambda name, data: data[:8] if name.endswith("data/0") else data)
    assert rule_of(judged("w.pt", short)) == "torch-storage"


def test_a_stride_of_nothing_does_not_make_a_bomb(judged):
    huge = saved({"w": torch.zeros(1).expand(1).as_strided((1 << 20, 1 << 20), (0, 0))})
    assert rule_of(judged("w.pt", huge)) == "tensor-expanded"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda name, data: None if name.endswith("data/1") else data, "torch-storage"),
        (lambda name, data: b"{}" if name.endswith("version") else data, "torch-records"),
        (lambda name, data: b"middle" if name.endswith("byteorder") else data, "torch-records"),
        (lambda name, data: data + b"x" if name.endswith("data.pkl") else data, "pickle-trailing"),
    ],
)
def test_every_record_is_what_torch_writes(judged, change, rule):
    assert rule_of(judged("w.pt", rewritten(saved(TENSORS), change))) == rule


@pytest.mark.parametrize(("name", "rule"), [("archive/data/9", "torch-unused"), ("other/x", "torch-records")])
def test_nothing_lies_beside_the_tensors(judged, name, rule):
    stream = io.BytesIO(rewritten(saved(TENSORS), lambda name, data: data))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(name, b"hidden")
    assert rule_of(judged("w.pt", stream.getvalue())) == rule


def test_a_comment_is_refused(judged):
    stream = io.BytesIO(saved(TENSORS))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = b"hidden"
    assert rule_of(judged("w.pt", stream.getvalue())) == "zip-hidden"


def test_compressed_records_are_refused(judged):
    packed = rewritten(saved(TENSORS), lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert rule_of(judged("w.pt", packed)) == "torch-compressed"


def test_an_object_is_not_changed_after_it_is_finished(judged):
    def change(name: str, data: bytes) -> bytes:
        return data[:-1] + b"q\x630h\x63K\x00K\x01s." if name.endswith("data.pkl") else data

    assert rule_of(judged("w.pt", rewritten(saved(TENSORS), change))) == "pickle-order"


def test_lightning_may_not_be_told_what_to_call(judged):
    parameters = {"_instantiator": "os.system", "x": "true"}
    assert rule_of(judged("w.ckpt", saved({"hyper_parameters": parameters}))) == "lightning-instantiator"
    parameters["_instantiator"] = "lightning.pytorch.cli.instantiate_module"
    assert judged("w.ckpt", saved({"hyper_parameters": parameters})).verdict == "ask"


@pytest.mark.parametrize("cut", [1, 30, 120])
def test_a_legacy_file_is_whole_to_its_last_byte(judged, cut):
    data = saved(TENSORS, legacy=True)
    assert judged("w.pth", data[:-cut]).verdict == "reject"
    assert rule_of(judged("w.pth", data + bytes(cut))) == "torch-trailing"


def test_a_legacy_storage_has_the_length_that_the_pickle_claims(judged):
    data = saved({"w": TENSORS["w"]}, legacy=True)
    place = data.index(struct.pack("<q4f", 12, 0, 1, 2, 3))
    assert rule_of(judged("w.pth", data[:place] + struct.pack("<q", 13) + data[place + 8 :])) == "torch-storage"


def tar_of_2017(value: object) -> bytes:
    shape = struct.pack("<i4xqqq", 1, 2, 1, 0)
    storage = pickle.dumps((1, "cpu", torch.FloatStorage), 2) + struct.pack("<q2f", 2, 1.0, 2.0)
    members = {
        "sys_info": pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2),
        "pickle": pickle.dumps(value, 2),
        "storages": pickle.dumps(1, 2) + storage + pickle.dumps([], 2),
        "tensors": pickle.dumps(1, 2) + pickle.dumps((5, 1, torch.FloatTensor), 2) + shape,
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def test_torch_s_tar_of_2017_is_a_question_and_its_pickles_are_walked(judged, marker):
    assert judged("w.pt", tar_of_2017({"epoch": 1})).findings[0].rule == "torch-tar"
    assert rule_of(judged("w.pt", tar_of_2017(Payload(marker)))) == "pickle-name"
