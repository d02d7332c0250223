import json
from pathlib import PurePosixPath

import pytest

from transfuse.core.errors import UnknownName
from transfuse.core.tables import chosen, resolve, unknown

TABLE = {"dump": "json:dumps", "path": "pathlib:PurePosixPath"}


def test_a_name_gives_what_its_place_holds():
    assert resolve(TABLE, "dump", "tool") is json.dumps
    assert resolve(TABLE, "path", "tool") is PurePosixPath


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(UnknownName) as caught:
        resolve(TABLE, "dmp", "tool")
    assert str(caught.value) == "No tool is called 'dmp'. Did you mean 'dump'? Known: dump, path."


def test_a_name_like_no_other_gets_no_guess():
    assert str(unknown("tool", "xylophone", TABLE)) == "No tool is called 'xylophone'. Known: dump, path."


def test_a_known_name_is_given_back():
    assert chosen("tool", "path", iter(TABLE)) == "path"


def test_a_case_that_differs_is_not_taken_silently():
    with pytest.raises(UnknownName, match="Did you mean 'dump'"):
        chosen("tool", "Dump", TABLE)
