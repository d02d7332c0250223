"""Priors: where they come from, that only equal yardsticks are compared, that broken cards are no cards."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from transfuse.core.errors import UnknownName, UsageError
from transfuse.ranking.priors import GIVEN, Prior, card_prior, priors_of

HUB = """---
license: mit
model-index:
- name: net
  results:
  - task:
      type: image-classification
    dataset:
      name: ImageNet-1k
      type: imagenet-1k
    metrics:
    - type: top5
      value: 0.9
    - type: accuracy
      value: 0.71
---
# net
"""


@pytest.fixture
def carded(good, tmp_path):
    """A function that puts the good source's weights into a folder of their own, with a card beside them."""

    def make(name, card=None, hub=None):
        (tmp_path / name).mkdir()
        weights = tmp_path / name / "w.safetensors"
        shutil.copy(good.weights, weights)
        if card is not None:
            weights.with_suffix(".json").write_text(card if isinstance(card, str) else json.dumps(card))
        if hub is not None:
            (tmp_path / name / "README.md").write_text(hub)
        return replace(good, name=name, reference=f"file:{name}", weights=str(weights))

    return make


def card(value, of="ImageNet top-1"):
    return {"prior": {"value": value, "of": of}}


def test_a_card_beside_the_weights_and_a_hub_s_page_are_read(carded):
    assert card_prior(carded("a", card(0.7))) == Prior(value=0.7, of="ImageNet top-1")
    assert card_prior(carded("b", hub=HUB)) == Prior(value=0.71, of="accuracy on ImageNet-1k")
    assert card_prior(carded("c", card(0.6), HUB)).value == 0.6
    assert card_prior(carded("d")) is None


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '"text"', json.dumps({"prior": 3}), json.dumps(card("much")), json.dumps(card(True)),
     json.dumps(card(float("nan"))), json.dumps(card(1, "")), "\x00"],
)  # fmt: skip
def test_a_broken_card_is_none(carded, content):
    assert card_prior(carded("a", content)) is None


@pytest.mark.parametrize(
    "content",
    ["", "# no front matter", "---\n: : :\n---\n", "---\nmodel-index: 3\n---\n", "---\nmodel-index: []\n---\n", "---",
     "---\n- 1\n---\n", "---\n!!python/object/apply:os.system ['true']\n---\n",
     HUB.replace("value: 0.71", "value: high")],
)  # fmt: skip
def test_a_hub_s_page_without_an_accuracy_is_none(carded, content):
    assert card_prior(carded("a", hub=content)) is None


def test_a_source_without_weights_has_none(good):
    assert card_prior(replace(good, weights=None)) is None


def test_only_one_yardstick_counts_and_it_takes_two(carded):
    a, b = carded("a", card(0.7)), carded("b", card(0.6))
    c = carded("c", card(92, "CIFAR-10"))
    assert set(priors_of([a, b, c], {})) == {"a", "b"}
    assert priors_of([a, c], {}) == {} == priors_of([a], {})


def test_what_the_user_says_goes_before_the_cards(carded):
    a, b = carded("a", card(0.7)), carded("b", card(0.6))
    assert priors_of([a, b], {"a": 1, "file:b": 2.5}) == {
        "a": Prior(value=1.0, of=GIVEN),
        "b": Prior(value=2.5, of=GIVEN),
    }
    with pytest.raises(UnknownName, match="'a'"):
        priors_of([a, b], {"aa": 1})
    for wrong in (float("nan"), "much", True, None):
        with pytest.raises(UsageError, match="finite number"):
            priors_of([a, b], {"a": wrong})


def test_the_built_in_network_has_a_card_without_a_prior():
    from transfuse.sources.references import find

    source = find("builtin")
    assert Path(source.weights).with_suffix(".json").is_file() and card_prior(source) is None
