"""Reading every text once: which can be read, what each one holds (digest), what it is when spelling is put aside.

Letters: N examples.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning
from transfuse.core.runs import Run
from transfuse.tasks.listing import Listing, kept

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_LONG = 100_000  # characters from which on a text is named: more than any network here reads
_NUL, _REPLACEMENT = "\x00", "\ufffd"
_REPORT_EVERY = 1000


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What one reading of N texts tells."""

    texts: tuple[str, ...]
    digests: tuple[str, ...]
    """SHA-256 of the text as it will be seen."""


def text_of(item: Any) -> str:
    """The text of an item: a string as it is, a path by the file's contents (UTF-8, or UTF-16 with its mark).

    NUL characters become spaces. Raises `DataError` for what cannot be read as text.
    """
    if isinstance(item, str):
        return item.replace(_NUL, " ")
    if not isinstance(item, Path | bytes):
        raise DataError(f"A text must be a string or the path of a .txt file, but is of type {type(item).__name__}.")
    return _decoded(item if isinstance(item, bytes) else _bytes(item), item).replace(_NUL, " ")


def digest_of(text: str) -> str:
    """SHA-256 of a text; half of a surrogate pair, which is no character, counts too."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_texts(listing: Listing, run: Run | None = None) -> tuple[Listing, Reads]:
    """Read all texts. Those that cannot be read, or are empty, leave the listing and are named in its warnings.

    Raises `DataError` when none is left.
    """
    run = run or Run()
    found: list[str] = []
    bad: dict[int, str] = {}
    for place, item in enumerate(listing.items):
        try:
            found.append(_seen(item))
        except DataError as problem:
            found.append("")
            bad[place] = str(problem)
        if (place + 1) % _REPORT_EVERY == 0:
            run.watch({"stage": "reading texts", "done": place + 1, "total": len(listing)})
    empty = [place for place, text in enumerate(found) if place not in bad and not text.strip()]
    good = [place for place, text in enumerate(found) if text.strip()]
    if not good:
        first = next(iter(bad.values()), f"{listing.names[0]} is empty.")
        raise DataError(f"None of the {len(listing)} texts can be read. The first: {first}")
    warnings = [*_left_out(listing, bad, empty), *_traits(listing, found, good)]
    texts = tuple(found[place] for place in good)
    return kept(listing, good, *warnings), Reads(texts=texts, digests=tuple(map(digest_of, texts)))


def _seen(item: Any) -> str:
    if item is None or (isinstance(item, float) and item != item):
        return ""
    return str(item) if isinstance(item, bool | int | float) else text_of(item)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}") from None


def _decoded(data: bytes, item: Any) -> str:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as problem:
        where = item if isinstance(item, Path) else "the text"
        line = data.count(b"\n", 0, problem.start) + 1
        raise DataError(
            f"{where} must be {encoding} text, but byte {problem.start} (line {line}) is"
            f" 0x{data[problem.start]:02x}: save it as UTF-8 (it may be Windows-1252 or Latin-1)"
        ) from None


def _left_out(listing: Listing, bad: dict[int, str], empty: Sequence[int]) -> list[DataWarning]:
    warnings = []
    if bad:
        places = tuple(why if listing.names[p] in why else f"{listing.names[p]}: {why}" for p, why in bad.items())
        message = f"{len(bad)} of {len(listing)} texts cannot be read and {'is' if len(bad) == 1 else 'are'} left out."
        warnings.append(DataWarning(code="unreadable", message=message, places=places))
    if empty:
        message = f"{len(empty)} of {len(listing)} texts are empty and are left out."
        places = tuple(listing.names[place] for place in empty)
        warnings.append(DataWarning(code="empty-text", message=message, places=places))
    return warnings


def _traits(listing: Listing, texts: Sequence[str], good: Sequence[int]) -> list[DataWarning]:
    """What is odd about texts that can be read."""
    raw = {place: listing.items[place] for place in good if isinstance(listing.items[place], str)}
    odd = {
        "nul-characters": ([p for p, text in raw.items() if _NUL in text], "hold NUL characters, taken as spaces."),
        "wrong-encoding": (
            [p for p in good if _REPLACEMENT in texts[p] or _mojibake(texts[p])],
            "hold characters such as \N{LATIN CAPITAL LETTER A WITH TILDE}\N{COPYRIGHT SIGN} or \ufffd, which come"
            " from a wrong encoding. Read the original again as UTF-8.",
        ),
        "very-long-text": (
            [p for p in good if len(texts[p]) > _LONG],
            f"are longer than {_LONG} characters; a network sees the part that its source says.",
        ),
    }
    return [
        DataWarning(
            code=code,
            message=f"{len(places)} texts {words}",
            places=tuple(listing.names[place] for place in places),
            severity="warning" if code == "wrong-encoding" else "note",
        )
        for code, (places, words) in odd.items()
        if places
    ]


def _mojibake(text: str) -> bool:
    """Whether a text was UTF-8 and was read as Latin-1: its bytes are UTF-8 again."""
    if text.isascii():
        return False
    try:
        return text.encode("cp1252").decode("utf-8") != text
    except UnicodeError:
        return False


def normalised(text: str) -> str:
    """The text without case, accents' encodings, punctuation and repeated spaces: equal for what reads the same."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(mark if mark.isalnum() else " " for mark in folded).split())
