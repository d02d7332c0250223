"""Every command and every Python line of the README works, on local stand-ins of what has to be downloaded.

`make` lines are not run here, since this is what they run; that their targets exist is tested.
"""

import contextlib
import io
import re
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import sentences, write_pairs, write_sounds

from transfuse.cli.main import COMMANDS as TABLE
from transfuse.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORT = ("--size", "32", "--steps", "20", "--rate", "0.001")
"""What is added to commands that train."""
IN_PYTHON = {
    r'"timm:\w+"': 'tr.source("random:timm:test_resnet", size=32)',
    r'"10m"': '"10m", options={"steps": 20, "rate": 0.001}',
}
COLOURS = {"blue": (60, 60, 200), "green": (60, 200, 60), "red": (200, 60, 60)}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def lines() -> list[str]:
    """Shell lines of the README without comments."""
    texts = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [text for text in texts if text]


COMMANDS = [line for line in lines() if line.startswith("transfuse ")]
MAKE = [line for line in lines() if line.startswith("make ")]


def command_with_stand_ins(line: str) -> list[str]:
    """Arguments as a shell would pass them; a tiny random network stands for those of the hub."""
    texts = "hf:" in line
    line = re.sub(r"hf:\S+", "tiny", re.sub(r"timm:\w+", "random:timm:test_resnet", line))
    words = shlex.split(line, comments=True)[1:]
    words = [path for word in words for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    if texts or (any(".csv" in word or "sqlite" in word for word in words) and words[0] == "fit"):
        return [*words, *SHORT[2:]]
    return [
        *words,
        *{"fit": SHORT, "transfer": SHORT, "distill": SHORT, "rank": SHORT[:2], "shrink": SHORT[2:]}.get(words[0], ()),
    ]


def python_with_stand_ins(block: str) -> str:
    for pattern, substitute in IN_PYTHON.items():
        block = re.sub(pattern, substitute, block)
    return block


def write_pictures(folder: Path, count: int, suffix: str, colour: tuple[int, int, int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(sum(colour) + count)
    for number in range(count):
        picture = np.clip(np.array(colour) + generator.normal(0, 40, (24, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number}{suffix}")


def write_tables(folder: Path) -> None:
    """Six tables and shop.db: the answer follows from two columns."""
    generator = np.random.default_rng(0)
    rows = [(int(age), job, "high" if age + 20 * (job == "b") > 50 else "low") for age, job in zip(
        generator.integers(18, 80, 120), generator.choice(["a", "b"], 120), strict=True)]  # fmt: skip
    text = "age,job,income\n" + "".join(f"{age},{job},{income}\n" for age, job, income in rows)
    for name in ("adult", "here", "elsewhere", "new", "people"):
        (folder / f"{name}.csv").write_text(text)
    (folder / "more.csv").write_text("age,job\n" + "".join(f"{age},{job}\n" for age, job, _ in rows))
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.execute("create table orders (size real, zip text, returned text)")
        connection.executemany("insert into orders values (?, ?, ?)", [(a, f"1{j}", i) for a, j, i in rows])
        connection.commit()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, tiny_networks: dict[str, Path]) -> Iterator[Path]:
    """The working folder that the README supposes: photos/, others/, cat.jpg, more/*.jpg, texts, sounds, tables."""
    folder = tmp_path_factory.mktemp("desk")
    for name, colour in COLOURS.items():
        write_pictures(folder / "photos" / "train" / name, 16, ".jpg", colour)
        write_pictures(folder / "photos" / "test" / name, 6, ".png", colour)
        write_pictures(folder / "others" / name, 13, ".png", colour)
    write_pictures(folder / "more", 2, ".jpg", COLOURS["red"])
    shutil.copy(folder / "more" / "0.jpg", folder / "cat.jpg")
    (folder / "intents.csv").write_text("text,label\n" + "\n".join(map(",".join, zip(*sentences(20), strict=True))))
    (folder / "note.txt").write_text("warm rain and wind")
    (folder / "elsewhere.txt").write_text("xyzzy plugh\nqux frobnicate\n")
    write_tables(folder)
    write_sounds(folder / "words", 12)
    shutil.copy(folder / "words" / "high" / "high0.wav", folder / "yes.wav")
    write_pairs(folder / "pairs", 30)
    shutil.copytree(tiny_networks["bert"], folder / "tiny")
    torch.save({"weight": torch.ones(3, 2)}, folder / "stranger.pt")
    with contextlib.chdir(folder):
        yield folder


def test_the_readme_has_what_is_tested_here():
    assert len(COMMANDS) == 34 and len(MAKE) == 2 and len(blocks("python")) == 1
    assert len(COMMANDS) + len(MAKE) == len(lines())


def test_the_commands_work_one_after_the_other(desk, capsys):
    """One test, since each stands on what the one before has written."""
    for line in COMMANDS:
        assert not main(command_with_stand_ins(line)), line
        assert capsys.readouterr().out.strip(), line


@pytest.mark.parametrize("block", blocks("python"))
def test_python_works_as_it_stands(block, desk):
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        exec(compile(python_with_stand_ins(block), "README.md", "exec"), {})
    assert "accuracy" in written.getvalue() and any(name in written.getvalue() for name in COLOURS)


@pytest.mark.parametrize("line", MAKE)
def test_a_target_of_make_exists(line):
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_every_verb_of_the_table_is_a_command_and_every_command_is_told():
    told = set(re.findall(r"^\| `transfuse (\w+)", README, flags=re.MULTILINE))
    assert told == set(TABLE) - {"demo"}


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / document).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_comes_to_the_first_result_within_one_screen():
    before = README[: README.index("transfuse fit photos/")]
    assert before.count("\n") < 40
