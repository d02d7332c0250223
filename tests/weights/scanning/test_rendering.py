"""Rendering in a process of its own: what it gives, and what ends it."""

import time

import pytest

from transfuse.core.errors import UnsafeFile, UsageError
from transfuse.weights.scanning.settings.rendering import rendered

CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% generation %}!{% endgeneration %}{% endfor %}"


def test_a_chat_is_rendered() -> None:
    assert rendered(CHAT, {"messages": [{"role": "user", "content": "hé"}]}) == "user: hé!"


@pytest.mark.parametrize(
    "text, why",
    [
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "reaches into Python"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "too long or too much"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}", "longer than"),
        ("{{ ('x' * 10**9) | length }}", "memory|too long"),
        ("{{ (9 ** (9 ** 9)) > 0 }}", "too long|memory"),
        (
            "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "memory|too long",
        ),
        ("{{ raise_exception('no') }}", "no"),
        ("{% if %}", "fails"),
    ],
)
def test_what_never_ends_or_reaches_out_is_ended(text: str, why: str) -> None:
    began = time.monotonic()
    with pytest.raises(UnsafeFile, match=why):
        rendered(text, {}, seconds=1.0, characters=10_000)
    assert time.monotonic() - began < 20


def test_values_are_those_of_json() -> None:
    with pytest.raises(UsageError, match="must be of the kind"):
        rendered("", {"x": object()})
