"""Cells of one column as numbers, points in time, truth values or texts. None of them guesses: see `roles`.

Letters: N rows.
"""

import re
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DATE_FORMS = ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y%m%d", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M")
"""Formats of dates that are tried beside ISO 8601, in this order."""
TRUTHS = {
    "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "t": 1.0, "f": 0.0, "y": 1.0, "n": 0.0, "on": 1.0, "off": 0.0,
    "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0,
}  # fmt: skip
WORDS = 32
"""Numbers that a cell of free text becomes."""
_MICROSECONDS_A_DAY = 86_400e6
_WORD = re.compile(r"\w+")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Every cell as text, whole numbers without a decimal point; missing cells stay missing."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "true", "false")
    if pa.types.is_floating(kind):
        whole = pc.equal(column, pc.floor(column))
        small = pc.and_(whole, pc.less(pc.abs(column), 2.0**53))
        integers = pc.cast(pc.if_else(small, column, pa.scalar(0.0)), pa.int64()).cast(pa.string())
        return pc.if_else(small, integers, column.cast(pa.string()))
    return column.cast(pa.string())


def numbers(column: pa.ChunkedArray, decimal: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Cells as float64 (N,) with NaN for missing ones, and where a cell is there but no finite number, bool (N,)."""
    if pa.types.is_string(column.type):
        text = column
        if decimal == ",":
            text = pc.replace_substring(pc.replace_substring(text, ".", ""), ",", ".")
        try:
            values = text.cast(pa.float64())
        except pa.ArrowInvalid:  # cell by cell, which takes ten times as long
            good = pc.match_substring_regex(text, _NUMBER)
            values = pc.cast(pc.if_else(good, text, pa.scalar(None, pa.string())), pa.float64())
    elif pa.types.is_timestamp(column.type):
        values = pa.nulls(len(column), pa.float64())
    else:
        values = column.cast(pa.float64())
    found = _floats(values)
    found[~np.isfinite(found)] = np.nan
    return found, np.isnan(found) & ~_missing(column)


def truths(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Cells as 0, 1 or NaN, and where a cell is there but neither yes nor no."""
    text = pc.utf8_lower(texts(column))
    words = list(TRUTHS)
    codes = _floats(pc.index_in(text, value_set=pa.array(words)))
    meaning = np.array([*TRUTHS.values(), np.nan])
    found = meaning[np.where(np.isnan(codes), len(words), codes).astype(int)]
    return found, np.isnan(found) & ~_missing(column)


def days(column: pa.ChunkedArray, form: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Cells as days since 1970 (with fractions), NaN for missing ones, and where a cell is there but no such date."""
    if pa.types.is_timestamp(column.type):
        moments = column
    elif pa.types.is_string(column.type):
        moments = pc.strptime(column, format=form, unit="us", error_is_null=True) if form else _iso(column)
    else:
        moments = pa.nulls(len(column), pa.timestamp("us"))
    found = _floats(moments.cast(pa.timestamp("us"), safe=False).cast(pa.int64())) / _MICROSECONDS_A_DAY
    return found, np.isnan(found) & ~_missing(column)


def _iso(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO 8601 with or without time and zone; what is not becomes missing."""
    day, clock = r"^\d{4}-\d{2}-\d{2}", r"([T ]\d{2}:\d{2}(:\d{2})?(\.\d{1,6})?)?"
    good = pc.match_substring_regex(column, day + clock + r"(Z|[+-]\d{2}:?\d{2})?$")
    first = pc.utf8_slice_codeunits(pc.if_else(good, column, pa.scalar(None, pa.string())), 0, 10)
    date = pc.strptime(first, format="%Y-%m-%d", unit="us", error_is_null=True)
    time = pc.utf8_slice_codeunits(column, 11, 19)
    seconds = pc.strptime(time, format="%H:%M:%S", unit="us", error_is_null=True)
    minutes = pc.strptime(pc.utf8_slice_codeunits(column, 11, 16), format="%H:%M", unit="us", error_is_null=True)
    clocked = pc.coalesce(pc.cast(seconds, pa.int64()), pc.cast(minutes, pa.int64()), pa.scalar(0, pa.int64()))
    microseconds_in_day = np.mod(_floats(clocked), _MICROSECONDS_A_DAY)
    total = _floats(date.cast(pa.int64())) + microseconds_in_day
    return pa.chunked_array([pa.array(total, from_pandas=True).cast(pa.int64(), safe=False).cast(pa.timestamp("us"))])


def hashed_words(column: pa.ChunkedArray) -> np.ndarray:
    """Counts of words in `WORDS` buckets as c / (1 + c), float64 (N, WORDS); NaN for missing cells.

    Weinberger et al., "Feature hashing for large scale multitask learning", arXiv 0902.2206, without signs. The first
    bucket holds the number of words as n / (20 + n).
    """
    found = np.full((len(column), WORDS), np.nan)
    for place, text in enumerate(texts(column).to_pylist()):
        if text is not None:
            words = _WORD.findall(text[:20_000].lower())
            buckets = [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in words]
            counts = np.bincount(buckets, minlength=WORDS).astype(float)
            found[place] = counts / (1 + counts)
            found[place, 0] = len(words) / (20 + len(words))
    return found


def codes(column: pa.ChunkedArray, values: tuple[str, ...], spellings: tuple[tuple[str, int], ...] = ()) -> np.ndarray:
    """Places of the cells in `values`, float64 (N,): NaN for missing cells, -1 for other texts."""
    text = texts(column)
    known = [*values, *(spelling for spelling, _ in spellings)]
    meaning = np.array([*range(len(values)), *(code for _, code in spellings), -1], np.float64)
    found = _floats(pc.index_in(text, value_set=pa.array(known, pa.string())))
    result = meaning[np.where(np.isnan(found), len(known), found).astype(int)]
    result[_missing(column)] = np.nan
    return result


def blanked(column: pa.ChunkedArray, blanks: tuple[str, ...]) -> pa.ChunkedArray:
    """The column with these texts as missing cells."""
    if not blanks or not pa.types.is_string(column.type):
        return column
    return pc.if_else(pc.is_in(column, value_set=pa.array(blanks)), pa.scalar(None, pa.string()), column)


def _missing(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False) if len(column) else [], bool)


def _floats(array: pa.ChunkedArray) -> np.ndarray:
    values = array.cast(pa.float64(), safe=False)
    return np.array(values.to_numpy(zero_copy_only=False), np.float64)
