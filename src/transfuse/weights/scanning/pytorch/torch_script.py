"""TorchScript: a program beside its tensors. At best a question for a person; refused when it reaches for files.

`torch.jit.load` runs the `__setstate__` of the program. The language has hardly any way out of itself, but
`torch.from_file(path, shared=True, n)` makes and maps a file while loading, and custom operators are native code.
"""

import re
from collections.abc import Iterator

from transfuse.weights.scanning.archives.zip_layout import Member
from transfuse.weights.scanning.archives.zips import opened, verify
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.pickled.machine import Machine
from transfuse.weights.scanning.pickled.names import known
from transfuse.weights.scanning.pickled.pickles import walked
from transfuse.weights.scanning.pickled.values import Symbol
from transfuse.weights.scanning.pytorch.torch_files import Storages, check_records, records_of

_LARGEST_SOURCE = 64 * 2**20
_REACHES_OUT = re.compile(
    rb"\b(from_file|rpc_\w+|to_here)\b|\b(?:torch|aten|prim)\s*\.\s*(_?save\w*|_?load\w*)\s*\(|\\\r?\n"
    rb"|\b([gh][ea][ts]attr)\s*\((?!\w+(?:\.\w+)*, \"\w+\"\))"
)
_FOREIGN = re.compile(rb"\bops\s*\.\s*(\w+)\s*\.")
_CUSTOM = re.compile(rb"__torch__\s*\.\s*torch\s*\.\s*classes\s*\.\s*([\w.]+)")
_OPERATORS = {b"aten", b"prim", b"prims", b"quantized", b"torchvision", b"torchaudio", b"static_runtime", b"profiler"}
_TEXTS = {
    "version", "byteorder", ".data/serialization_id", ".data/version", "archive_format",
    ".format_version", ".storage_alignment", "data.pkl", "constants.pkl", "bytecode.pkl", "mobile_debug_handles.pkl",
}  # fmt: skip
_BUILDERS = {"build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id"}
_PATH = re.compile(r"__torch__(\.\w+)*")


def torch_script(content: Content) -> Iterator[Finding]:
    """A program with its tensors."""
    records = records_of(content)
    for name, member in records.items():
        if name.startswith("code/") and name.endswith(".py"):
            _check_source(content, member)
    storages = {"data/": Storages(), "constants/": Storages()}
    for name in sorted(records):
        if name.endswith((".pkl", ".debug_pkl")):
            folder = "constants/" if name == "constants.pkl" else "data/"
            _walk(content, records[name], storages[folder])
    program = {name for name in records if name.startswith(("code/", "extra/"))}
    yield from _rest(content, records, storages, program)
    yield Finding(
        verdict="ask",
        rule="torchscript",
        reason="It is a TorchScript program, which runs when it is loaded and when it is called.",
        advice="Open it only if you trust where it comes from; or ask for its tensors as safetensors.",
    )


def _rest(
    content: Content, records: dict[str, Member], storages: dict[str, Storages], program: set[str]
) -> Iterator[Finding]:
    sides = {name: member for name, member in records.items() if name not in program and name not in _TEXTS}
    for name in program | (_TEXTS & set(records)):
        verify(content, records[name])
    yield from check_records(content, sides, storages, set())


def _check_source(content: Content, member: Member) -> None:
    if member.size > _LARGEST_SOURCE:
        raise refused("torchscript-size", "A source of its program is too long to be read.", member.name)
    with opened(content, member) as inner:
        source = inner.read(0, member.size)
    match = _REACHES_OUT.search(source)
    if match:
        name = (match[1] or match[2] or match[3] or b"something across lines").decode()
        reason = f"Its program uses {name}, which may reach files."
        raise refused("torchscript-reaches-out", reason, *_at(member, match))
    for match in _FOREIGN.finditer(source):
        if match.group(1) not in _OPERATORS:
            name = match.group(1).decode()
            raise refused(
                "torchscript-operator", f"Its program needs native code of '{name}'.", member.name, match.start()
            )
    for match in _CUSTOM.finditer(source):
        if not match.group(1).startswith((b"quantized.", b"xnnpack.", b"sparse.", b"rnn.")):
            name = match.group(1).decode()
            raise refused(
                "torchscript-operator", f"Its program needs a native class '{name}'.", member.name, match.start()
            )


def _at(member: Member, match: re.Match[bytes]) -> tuple[str, int]:
    return member.name, match.start()


def _walk(content: Content, member: Member, storages: Storages) -> None:
    with opened(content, member) as inner:
        machine = Machine(inner.stream, inner.size, where=member.name)
        machine.persistent, machine.look_up = storages.persistent, _in_a_program
        for _ in walked(machine):
            pass  # that it is code is said once, for the whole file
        if inner.stream.tell() != inner.size:
            raise machine.refuse("pickle-trailing", "Bytes follow a pickle of the program, which nothing accounts for.")


def _in_a_program(module: str, name: str) -> Symbol | None:
    """Names that torch's own unpickler understands: classes of the program, and makers of typed lists."""
    if _PATH.fullmatch(module) and name.isidentifier():
        return Symbol(name=f"{module}.{name}", rule="class", asked=True)
    if module == "torch.jit._pickle" and name in _BUILDERS:
        return Symbol(name=f"{module}.{name}", rule="function", asked=True)
    if module == "torch.jit._pickle" and name == "restore_type_tag":
        return Symbol(name=f"{module}.{name}", rule="function", asked=True)
    return known(module, name)
