"""TorchScript: a question at best; refused when its program reaches out or needs native code."""

import io
import warnings
import zipfile

import pytest
import torch


def script() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.Tanh())), stream)
    return stream.getvalue()


def with_line(line: bytes) -> bytes:
    """The program with a line more in every source."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(script())) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            more = line if entry.filename.endswith(".py") else b""
            new.writestr(entry.filename, old.read(entry) + more, entry.compress_type)
    return stream.getvalue()


def test_a_program_is_a_question(judged):
    for name in ("w.pt", "w.jit"):
        judgement = judged(name, script())
        assert judgement.verdict == "ask" and judgement.findings[0].rule == "torchscript"
    assert judged("w.pt", with_line(b"    x = torch.add(ops.prim.data(x), 1)\n")).verdict == "ask"


@pytest.mark.parametrize(
    "line",
    [
        b'    x = torch.from_file("/tmp/x", True, 8)\n',
        b'    x = ops.aten . from_file("/tmp/x", True, 8)\n',
        b'    x = torch.from_fi\\\nle("/tmp/x", True, 8)\n',
        b'    torch.save(x, "/tmp/x")\n',
        b'    x = getattr(torch, "from_\\x66ile")("/tmp/x", True, 8)\n',
        b"    x = ops.custom.run(x)\n",
        b"    x = __torch__.torch.classes.mine.Thing\n",
    ],
)
def test_a_program_that_reaches_out_is_refused(judged, line):
    judgement = judged("w.pt", with_line(line))
    assert judgement.verdict == "reject"
    assert judgement.findings[0].rule in {"torchscript-reaches-out", "torchscript-operator"}
    assert judgement.findings[0].where.endswith(".py")


def test_its_pickles_are_walked(judged):
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(script())) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            more = b"cos\nsystem\n0" if name.endswith("data.pkl") else b""
            data = old.read(name)
            new.writestr(name, data[:2] + more + data[2:] if more else data)
    assert judged("w.pt", stream.getvalue()).findings[0].rule == "pickle-name"
