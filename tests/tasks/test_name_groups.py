"""A word in the names is a group when, and only when, it parts the splits and is not the label."""

import numpy as np

from transfuse.tasks.name_groups import parted

LABELS = np.arange(40) % 4


def names(voices: tuple[str, ...], count: int = 40) -> list[str]:
    return [f"some/folder/{row % 4}_{voices[row // 7 % len(voices)]}_{row}.wav" for row in range(count)]


def test_voices_part_the_splits() -> None:
    found = parted({"train": names(("ann", "bob")), "test": names(("cid",))}, LABELS)
    assert found is not None and (found.known, found.asked) == (("ann", "bob"), ("cid",))
    assert found.groups[:8] == ("ann",) * 7 + ("bob",)
    assert found.words == "'ann', 'bob' in the training split, 'cid' in the test split"


def test_missing_names_are_a_group_of_their_own() -> None:
    given: list[str | None] = [*names(("ann", "bob"))]
    given[3] = None
    found = parted({"train": given, "test": names(("cid",))}, LABELS)
    assert found is not None and found.groups[3] == "" and found.known == ("ann", "bob")


def test_what_is_no_group() -> None:
    train = names(("ann", "bob"))
    assert parted({"train": train}, LABELS) is None  # no test split to part
    assert parted({"train": train, "test": names(("bob", "cid"))}, LABELS) is None  # one voice in both
    assert parted({"train": names(("ann",)), "test": names(("cid",))}, LABELS) is None  # nothing to hold out
    assert parted({"train": train, "test": ["0_cid.wav"]}, LABELS) is None  # names of another form
    many = [f"{row % 4}_v{row}_{row}.wav" for row in range(40)]
    assert parted({"train": many, "test": names(("cid",))}, LABELS) is None  # a number of its own
    labels = [f"{'ab'[row % 2]}_{row}.wav" for row in range(40)]
    asked = [f"c_{row}.wav" for row in range(40)]
    assert parted({"train": labels, "test": asked}, np.arange(40) % 2) is None  # the label's own name
    numbers = [f"{row % 4}_{row % 2}_{row}.wav" for row in range(40)]
    assert parted({"train": numbers, "test": names(("7",))}, LABELS) is None  # numbers count
