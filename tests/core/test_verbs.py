import inspect

import pytest

import transfuse
from transfuse.cli.main import COMMANDS
from transfuse.core.errors import UnknownName
from transfuse.core.nouns import Report
from transfuse.core.tables import resolve
from transfuse.core.verbs import VERBS, call
from transfuse.transferring.methods.table import METHODS

TABLES = {"verb": VERBS, "method": METHODS, "command": {name: place for name, (place, _) in COMMANDS.items()}}
ENTRIES = [(table, name) for table, entries in TABLES.items() for name in entries]


@pytest.mark.parametrize(("table", "name"), ENTRIES, ids=map("-".join, ENTRIES))
def test_every_entry_of_every_table_leads_to_something_documented(table, name):
    found = resolve(TABLES[table], name, table)
    assert callable(found)
    assert inspect.getdoc(found) if table != "command" else found.help
    assert getattr(found, "name", None) or found.__name__


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_source_task_and_keywords_and_nothing_open_ended(name):
    parameters = list(inspect.signature(resolve(METHODS, name, "method")).parameters.values())
    assert [parameter.name for parameter in parameters[:2]] == ["source", "task"]
    assert {parameter.kind for parameter in parameters[2:]} == {inspect.Parameter.KEYWORD_ONLY}
    assert {"run", "fit"} <= {parameter.name for parameter in parameters[2:]}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_lies_in_a_file_of_its_name_that_opens_with_it_in_one_line(name):
    module = inspect.getmodule(resolve(METHODS, name, "method"))
    assert module is not None and module.__name__.endswith(f".{name}")
    assert (module.__doc__ or "").startswith(f"{name}: ")


def test_call_passes_arguments_on():
    report = Report(title="A title", columns=("a",), rows=({"a": 1},))
    assert call("render_text", report) == str(report)
    assert "A title" in str(report)


def test_an_unknown_verb_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'transfer'"):
        call("transfr")


def test_the_package_gives_its_verbs_by_attribute():
    assert transfuse.compare is resolve(VERBS, "compare", "verb")
    with pytest.raises(AttributeError, match="has no attribute 'trasnfer'"):
        _ = transfuse.trasnfer
