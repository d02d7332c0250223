import inspect
import re

from transfuse.core import errors
from transfuse.core.errors import MissingExtra, TransfuseError, UsageError


def drawn_tree() -> dict[str, str]:
    """Class to parent, as the module's docstring draws it."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([│ ]*)([├└]── )?([A-Z]\w+)(?:  |$)", line)
        if found is None or not (found[2] or found[3] == "TransfuseError"):
            continue
        level = len(found[1]) // 4 + bool(found[2])
        path[level:] = [found[3]]
        parents[found[3]] = path[level - 1] if level else "Exception"
    return parents


def test_the_drawn_tree_is_the_tree_of_classes():
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    assert drawn_tree() == {name: kind.__bases__[0].__name__ for name, kind in classes.items()}
    assert len(classes) == 13


def test_every_error_is_a_transfuse_error_with_a_docstring():
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, TransfuseError)
        assert kind.__doc__ and kind.__doc__.endswith(".")


def test_errors_of_usage_and_of_missing_libraries_are_also_python_s_own():
    assert issubclass(UsageError, ValueError)
    assert issubclass(MissingExtra, ImportError)
