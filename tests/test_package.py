"""The package as a whole: how fast it starts, what it shows, how large its parts are, what is shipped."""

import ast
import os
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import transfuse

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "transfuse").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
ROOMS = sorted(path.parent.name for path in (ROOT / "src" / "transfuse").glob("*/__init__.py"))
HEAVY = ("torch", "numpy", "timm", "sklearn", "scipy", "PIL", "datasets", "pandas", "rich", "jinja2")
LIMIT = 0.3  # seconds of processor time
TRIES = 3


def processor_seconds(*arguments: str) -> float:
    """What a Python process takes of the processor, the best of a few."""
    taken = []
    for _ in range(TRIES):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(taken)


@pytest.mark.parametrize(
    "arguments", [("-c", "import transfuse"), ("-m", "transfuse", "--help")], ids=["import", "help"]
)
def test_it_starts_fast(arguments):
    assert processor_seconds(*arguments) < LIMIT


@pytest.mark.parametrize("call", ["", "try: main(['--help'])\nexcept SystemExit: pass"], ids=["import", "help"])
def test_it_starts_without_heavy_libraries(call):
    code = f"import sys, transfuse\nfrom transfuse.cli.main import main\n{call}\nprint(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in result.stderr.split()}
    assert "transfuse" in loaded and loaded.isdisjoint(HEAVY)


def test_what_is_public_is_what_all_names():
    assert dir(transfuse) == sorted(transfuse.__all__)
    assert len(set(transfuse.__all__)) == len(transfuse.__all__)
    for name in transfuse.__all__:
        assert getattr(transfuse, name).__doc__
    nouns = {"Source", "Task", "Features", "Model", "Report"}
    assert nouns < set(transfuse.__all__)


def test_the_version_is_the_project_s():
    assert project()["version"] == transfuse.__version__


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_architecture_names_every_room_and_none_that_is_not_there():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(r"^\| `(\w+)/` \|", text, flags=re.MULTILINE)
    assert sorted(named) == ROOMS


def test_the_architecture_draws_the_storeys_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")["layers"]
    drawn = re.search(r"```text\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), flags=re.DOTALL)
    assert drawn is not None
    storeys = [re.split(r"\s{2,}", line)[0].strip() for line in drawn[1].splitlines()]
    assert storeys == layers


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_of_a_size_to_be_read(path):
    assert path.read_text(encoding="utf-8").count("\n") <= 600


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_of_a_size_to_be_read(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            documented = len((ast.get_docstring(node) or "").splitlines())
            assert length - documented <= 60, f"{node.name} has {length} lines"


def test_nothing_is_left_to_be_done_in_the_text():
    words = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))
    texts = [
        *SOURCES,
        *TESTS,
        *ROOT.glob("*.md"),
        *(ROOT / "pretraining").glob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
    ]
    assert [path for path in texts if words.search(path.read_text(encoding="utf-8"))] == []


def test_every_module_of_the_package_opens_with_what_it_is():
    assert [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_a_room_s_init_holds_a_docstring_only():
    for room in ROOMS:
        tree = ast.parse((ROOT / "src" / "transfuse" / room / "__init__.py").read_text())
        assert len(tree.body) == 1


def test_make_checks_style_types_storeys_and_tests():
    makefile = (ROOT / "Makefile").read_text()
    needs = re.search(r"^test: (.*)$", makefile, flags=re.MULTILINE)
    assert needs is not None and {"lint", "types", "layers"} <= set(needs[1].split())
    for command in ("ruff check", "ruff format --check", "bin/mypy", "bin/lint-imports", "-m pytest"):
        assert command.replace("bin/", "$(BIN)/") in makefile
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("make test")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_what_is_not_code_is_shipped_with_the_package():
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["transfuse"]
    package = ROOT / "src" / "transfuse"
    covered = {path for pattern in shipped for path in package.glob(pattern)}
    other = {
        path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".c", ".so")
    }  # compiled
    assert package / "py.typed" in covered
    assert other - covered == set()


def test_every_requirement_is_pinned_in_the_constraints():
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    wanted = [*project()["dependencies"], *project()["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=;~! ]", requirement)[0].lower() for requirement in wanted}
    assert names - pinned == set()
