"""Nothing of the package writes to a disk but through `core/atomic.py`, read from the syntax of every module."""

import ast
import builtins
from pathlib import Path

import pytest

import transfuse

PACKAGE = Path(transfuse.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

ALLOWED = {
    "core/atomic.py": "the one writer",
    "weights/files.py:_save": "called by `write_tensors` on the writer's temporary file",
    "weights/files.py:_put_in_order": "called by `write_tensors` on the writer's temporary file",
    "weights/backups/places.py:send": "to a bucket or another machine; to a disk by the one writer",
    "weights/backups/places.py:write": "to a bucket or another machine; to a disk by the one writer",
    "weights/backups/backup.py:_fetched": "called by `restore` in the folder that the writer puts in place",
    "sources/cache.py:_allocated": "called by `written` on the writer's temporary files",
    "sources/cache.py:_seal": "called by `written` on the writer's temporary files",
    "sources/texts/inputs.py:written": "called by `save` in the folder that the writer puts in place",
    "searching/journal.py:_cut_half_line": "a journal that only ever grows; half a line is cut off and synced",
    "fusing/engine/journal.py:begin": "a journal in the hidden workplace; every line carries its digest",
    "fusing/engine/journal.py:add": "a journal in the hidden workplace; every line carries its digest",
    "fusing/engine/writing.py:carried_out": "in the hidden workplace, which `put_folder` syncs and puts in place",
    "fusing/engine/writing.py:_taken_up": "in the hidden workplace, which `put_folder` syncs and puts in place",
    "fusing/engine/writing.py:_written": "in the hidden workplace, which `put_folder` syncs and puts in place",
    "fusing/engine/writing.py:_write": "in the hidden workplace, which `put_folder` syncs and puts in place",
    "fusing/copying.py:copy_beside": "in the hidden workplace, which `put_folder` syncs and puts in place",
    "fusing/copying.py:_adjust": "in the hidden workplace, which `put_folder` syncs and puts in place",
    "probing/logistic/passes.py:_in_a_file": "rows that outgrow the memory, in a file without a name",
}
"""Module and function, and why it may; every one of them works on what nobody reads yet."""

WRITERS = {
    "write_text",
    "write_bytes",
    "save_file",
    "savez",
    "savez_compressed",
    "savetxt",
    "tofile",
    "open_memmap",
    "to_parquet",
    "to_csv",
    "to_json",
    "to_pickle",
    "to_feather",
    "write_table",
    "save_pretrained",
    "save_to_disk",
    "copyfile",
    "copy2",
    "copytree",
    "copyfileobj",
    "move",
    "renames",
    "rename",
    "symlink_to",
    "hardlink_to",
    "pwrite",
    "pwritev",
    "truncate",
    "ftruncate",
    "mkstemp",
    "mkdtemp",
    "NamedTemporaryFile",
    "TemporaryDirectory",
    "TemporaryFile",
    "savefig",
    "imwrite",
    "memmap",
    "put_file",
    "pipe_file",
}
OF_MODULES = {
    "np.save",
    "numpy.save",
    "torch.save",
    "os.replace",
    "os.link",
    "shutil.copy",
    "soundfile.write",
    "pickle.dump",
    "json.dump",
}
ATOMIC = {"writing_file", "writing_folder", "write_text", "write_bytes", "scratch"}


def name_of(call: ast.Call) -> tuple[str, str]:
    """(what it is called on, name) of a call."""
    if isinstance(call.func, ast.Attribute):
        return ast.unparse(call.func.value), call.func.attr
    return "", getattr(call.func, "id", "")


def modes(call: ast.Call) -> str:
    """What a call of `open` says in text or by the names of its flags."""
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg in ("mode", "flags"))]
    return " ".join(ast.unparse(value) for value in values)


def writes(call: ast.Call) -> bool:
    """Whether this may change a file."""
    owner, name = name_of(call)
    if name == "open":
        texts = [v.value for v in ast.walk(call) if isinstance(v, ast.Constant) and isinstance(v.value, str)]
        opened = any(text and set(text) <= set("rwaxbt+U") and set(text) & set("wax+") for text in texts)
        return opened or any(flag in modes(call) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND"))
    if owner == "atomic" or (not owner and name in ATOMIC and name not in vars(builtins)):
        return False
    if name == "memmap":
        return "r" not in [v.value for v in ast.walk(call) if isinstance(v, ast.Constant)]
    return (name in WRITERS and bool(owner or name == "save_file")) or f"{owner}.{name}" in OF_MODULES


def within_a_writer(parents: list[ast.AST]) -> bool:
    """Whether the call stands in a `with` block of the one writer."""
    blocks = [item.context_expr for node in parents if isinstance(node, ast.With) for item in node.items]
    return any(isinstance(block, ast.Call) and name_of(block)[1] in ATOMIC for block in blocks)


def direct_writes(tree: ast.AST) -> list[tuple[str, int, str]]:
    """(function, line, call) of every write that does not stand in a block of the one writer."""
    found = []

    def walk(node: ast.AST, parents: list[ast.AST]) -> None:
        if isinstance(node, ast.Call) and writes(node) and not within_a_writer(parents):
            functions = [p.name for p in parents if isinstance(p, ast.FunctionDef | ast.AsyncFunctionDef)]
            found.append((functions[0] if functions else "", node.lineno, ast.unparse(node)[:80]))
        for child in ast.iter_child_nodes(node):
            walk(child, [*parents, node])

    walk(tree, [])
    return found


def test_every_write_goes_through_the_one_writer():
    used, wrong = set(), []
    for path in MODULES:
        place = path.relative_to(PACKAGE).as_posix()
        for function, line, call in direct_writes(ast.parse(path.read_text(encoding="utf-8"))):
            entry = place if place in ALLOWED else f"{place}:{function}"
            used.add(entry)
            if entry not in ALLOWED:
                wrong.append(f"{place}:{line} in {function}: {call}")
    assert wrong == [], "write through core/atomic.py"
    assert used == ALLOWED.keys(), "entries that are no longer needed"


WRITE = """path.write_text('x'); open(p, 'w'); path.open('ab'); path.open(mode='r+b'); np.save(p, a); torch.save(a, p)
save_file(t, p); os.open(p, os.O_WRONLY | os.O_CREAT); shutil.copyfile(a, b); a.rename(b); os.replace(a, b)
table.to_parquet(p); tempfile.mkdtemp(); np.memmap(p, mode='w+'); json.dump(a, f)"""
READ = """path.read_text(); path.open('rb'); open(p); 'a'.replace('w', 'x'); np.memmap(p, mode='r'); json.dumps(a)
atomic.write_text(p, 'x'); write_bytes(p, b''); np.load(p, mmap_mode='r'); Image.open(p, formats=F)"""


@pytest.mark.parametrize("code", WRITE.replace("\n", "; ").split("; "))
def test_the_search_finds_a_write(code):
    assert len(direct_writes(ast.parse(f"def f():\n with x():\n  {code}"))) == 1
    assert direct_writes(ast.parse(f"def f():\n with atomic.writing_folder(p) as part:\n  {code}")) == []


@pytest.mark.parametrize("code", READ.replace("\n", "; ").split("; "))
def test_the_search_lets_reading_pass(code):
    assert direct_writes(ast.parse(code)) == []


def test_the_writer_syncs_the_file_and_its_folder_before_and_after_it_takes_its_place(tmp_path, monkeypatch):
    from transfuse.core import atomic

    events = []
    sync, replace = atomic._sync, Path.replace
    monkeypatch.setattr(atomic, "_sync", lambda path: (events.append(("sync", path)), sync(path)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (events.append(("replace", to)), replace(self, to))[1])
    atomic.write_text(tmp_path / "a", "x")
    assert [(what, path.name) for what, path in events] == [("sync", "a"), ("replace", "a"), ("sync", tmp_path.name)]
