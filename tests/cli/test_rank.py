"""transfuse rank as a user types it, and what users mistype."""

import json

import pytest

R = "random:timm:test_resnet"
B = "random:timm:test_vit"
SMALL = ("--size", 32)
USAGE, OTHER = 2, 1


def test_rank_prints_the_order_in_words_and_writes_the_page(transfuse, here, photos, source):
    ended = transfuse("rank", photos, source, "builtin", *SMALL, "--report", "r.html")
    assert ended.code == 0, ended.err
    flat = " ".join(ended.out.split())
    for words in ("is first of 2 sources", "standard errors of the paired difference", "n = 22, out of fold", "h score",
                  "licence", "Apache-2.0", "report: r.html"):  # fmt: skip
        assert words in flat
    assert "A tie" in flat or "proven better" in flat
    page = (here / "r.html").read_text()
    assert "Leaderboard" in page and "Scores" in page and "transfuse rank" in page and "https://" not in page
    assert "extracting" in ended.err


def test_rank_in_json_has_every_column_and_no_infinity(transfuse, here, photos, source, model):
    arguments = ("rank", photos, source, model, *SMALL, "--depths", "several", "--format", "json", "--quiet")
    ended = transfuse(*arguments)
    assert ended.code == 0, ended.err
    document = json.loads(ended.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    columns = {"source", "accuracy", "neighbours", "behind_first", "logme", "leep", "nleep", "h_score", "transrate",
               "ms_an_example", "parameters", "megabytes", "licence"}  # fmt: skip
    assert all(columns <= set(row) for row in document["rows"]) and len(document["rows"]) > 2
    assert {row["accuracy"]["n"] for row in document["rows"]} == {22}
    said = {(row["source"], row["leep"]) for row in document["rows"] if row["depth"] == "final"}
    assert ("test_resnet", "no head") in said and any(isinstance(leep, float) for _, leep in said)
    assert json.loads(transfuse(*arguments).out)["rows"][0]["source"] == document["rows"][0]["source"]


def test_priors_subsets_and_sources_that_cannot_be_had(transfuse, here, photos, source):
    sources = (source, B, "timm:resnet18")
    ended = transfuse("rank", photos, *sources, *SMALL, "--prior", f"{source}=1", "--prior", f"{B}=2", "--examples", 12)
    assert ended.code == 0, ended.err
    flat = " ".join(ended.out.split())
    assert "given by the user" in flat and "n = 12" in flat
    assert "source-left-out" in flat and "timm:resnet18" in flat


def test_what_rank_extracts_fit_finds(transfuse, here, photos, source):
    assert transfuse("rank", photos, source, *SMALL).code == 0
    ended = transfuse("transfer", source, photos, "--method", "probe", "--set", "depths=final", *SMALL)
    assert ended.code == 0 and "extracting" not in ended.err


MISTAKES = {
    "no source": (("rank", "photos"), USAGE, "Missing argument 'SOURCE...'"),
    "no data": (("rank", "nowhere", R), OTHER, "no file or folder 'nowhere'"),
    "data and source the wrong way round": (("rank", R, "photos"), OTHER, "must be the folder of a saved Model"),
    "unknown source": (("rank", "photos", "timm:resnt18"), USAGE, "Near: resnet18"),
    "only a source that cannot be had": (("rank", "photos", "timm:resnet18"), OTHER, "Without a network work"),
    "text file as source": (("rank", "photos", "text.txt"), OTHER, "There is no source 'text.txt'"),
    "unknown depths": (("rank", "photos", R, *SMALL, "--depths", "severl"), USAGE, "Did you mean 'several'?"),
    "one example": (("rank", "photos", R, *SMALL, "--examples", 1), USAGE, "at least 2, but is 1"),
    "prior without a number": (("rank", "photos", R, "--prior", f"{R}=good"), USAGE, "SOURCE=FIGURE"),
    "prior without a source": (("rank", "photos", R, "--prior", "69"), USAGE, "SOURCE=FIGURE"),
    "prior of another source": (("rank", "photos", R, *SMALL, "--prior", "resnet=1"), USAGE, "source with a prior"),
    "report of another kind": (("rank", "photos", R, "--report", "r.pdf"), USAGE, ".html or .json"),
    "budget in words": (("rank", "photos", R, "--budget", "soon"), USAGE, "'10m' or '1h30m'"),
    "code that is not trusted": (("rank", "photos", "file:w.pth@nets.py:f"), OTHER, "w.pth"),
}  # fmt: skip


@pytest.fixture
def place(here, photos):
    """A working folder with the things that the mistakes are about."""
    (here / "photos").symlink_to(photos)
    (here / "text.txt").write_text("hello")
    return here


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_clear_message(transfuse, place, mistake):
    arguments, code, words = MISTAKES[mistake]
    before = sorted(place.rglob("*"))
    ended = transfuse(*arguments, "--quiet")
    assert ended.code == code, ended
    message = ended.err.strip().splitlines()[-1]
    assert message.startswith("Error: ") and words in message and len(message) < 500
    assert "Traceback" not in ended.err and ended.out == ""
    assert sorted(place.rglob("*")) == before
