"""Inputs that a stranger might send, written into a folder: each is small or never ends, and must get a reason.

    python benchmarks/hostile_inputs.py     # each of them in a process of its own, with its peak of memory

Nothing here harms anything: bombs promise much and hold little, and links lead to /dev/zero.
"""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image

HUGE = 65_000  # pixels a side: 4.2 * 10^9 in all


def pictures(folder: Path, *, large: bool = False) -> list[Path]:
    """Hostile pictures; `large` also writes those of 100 MB and more."""
    small = Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    whole = {kind: _saved(small, kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")}
    files: dict[str, bytes] = {
        "bomb.png": _png(HUGE, HUGE),
        "bomb_max.png": _png(2**31 - 1, 2**31 - 1),
        "bomb_real.png": _png(12_000, 12_000, b"\0" * (12_000 * 36_001)),
        "bomb.gif": whole["GIF"][:6] + struct.pack("<HH", 65_535, 65_535) + whole["GIF"][10:],
        "bomb.webp": _webp(16_383, 16_383),
        "bomb.tiff": _tiff(HUGE, HUGE),
        "bomb_tile.tiff": _tiff(10, 10, tile=65_536),
        "bomb.bmp": whole["BMP"][:18] + struct.pack("<ii", HUGE, HUGE) + whole["BMP"][26:],
        "bomb.jpg": _jpeg_of_size(whole["JPEG"], 65_500, 65_500),
        "bomb.ppm": f"P6 {HUGE} {HUGE} 255\n".encode() + bytes(100),
        "bomb_text.png": _png(10, 10, text=b"\0" + zlib.compress(b"A" * 50_000_000)),
        "lying_text.png": _lying_text(),
        "html.jpg": b"<!DOCTYPE html><html><body>404</body></html>",
        "empty.png": b"",
        "nan.tiff": _float_tiff(),
        "zero_pixels.png": _png(0, 0),
        "exif_loop.jpg": _exif(whole["JPEG"], struct.pack("<HHIHHII", 0x4949, 42, 8, 1, 0x8769, 4 << 16 | 1, 8)),
    }
    files |= {f"truncated.{kind.lower()}": data[: len(data) // 2] for kind, data in whole.items()}
    files["frames.gif"] = _frames("GIF", 1_500)
    if large:
        files["text.png"] = _png(10, 10, text=b"A" * 300_000_000)
        files["frames.webp"] = _frames("WEBP", 1_500)
    return [*_written(folder, files), *_special(folder, ".png")]


def sounds(folder: Path) -> list[Path]:
    """Hostile sounds."""
    wave = (np.sin(np.arange(800) / 5) * 20_000).astype("<i2").tobytes()
    files = {
        "no_end.wav": _wav(wave, size=0x1000_0000),
        "fast.wav": _wav(wave, rate=4_000_000_000),
        "slow.wav": _wav(wave, rate=1),
        "channels.wav": _wav(wave, channels=65_535),
        "empty.wav": _wav(b""),
        "truncated.wav": _wav(wave)[:200],
        "nan.wav": _wav(np.full(800, np.nan, "<f4").tobytes(), kind=3, bits=32),
        "inf.wav": _wav(np.full(800, np.inf, "<f4").tobytes(), kind=3, bits=32),
        "hours.wav": _wav(bytes(4_000_000), rate=100, bits=8),
        "html.wav": b"<html>404</html>",
        "nothing.flac": b"fLaC" + bytes(60),
        "endless.flac": b"fLaC\x80\0\0\x22" + struct.pack(">HH", 4096, 4096) + bytes(6)
        + (8000 << 44 | 15 << 36 | (2**36 - 1)).to_bytes(8, "big") + bytes(16),
    }  # fmt: skip
    return [*_written(folder, files), *_special(folder, ".wav")]


def texts(folder: Path) -> list[Path]:
    """Hostile texts."""
    files = {
        "long.txt": b"a" * 10_000_000,
        "latin.txt": b"caf\xe9 \xff\xfe",
        "empty.txt": b"",
        "blank.txt": b" \n\t ",
    }
    return [*_written(folder, files), *_special(folder, ".txt")]


def tables(folder: Path) -> list[Path]:
    """Hostile tables: none of their rows can be answered."""
    nested = "[" * 100_000 + "]" * 100_000
    files = {
        "wide.csv": b",".join(b"c%d" % k for k in range(1_000_000)) + b"\n" + b"1," * 999_999 + b"1\n",
        "commas.csv": b"," * 5_000_000,
        "quoted.csv": b'a,b\n"' + b"x" * 10_000_000 + b'",1\n',
        "header.csv": b'"' + b"x" * 10_000_000 + b'",b\n1,2\n',
        "rows.csv": b"a,b\n" + b"1,2\n" * 1_000_001,
        "nul.csv": b"a,b\n1,\x00\n",
        "empty.csv": b"",
        "header_only.csv": b"a,b\n",
        "binary.csv": bytes(range(256)) * 20,
        "deep.jsonl": f'{{"a": {nested}}}\n'.encode(),
        "deep.json": f'[{{"a": {nested}}}]'.encode(),
        "digits.jsonl": b'{"a": ' + b"9" * 100_000 + b', "b": 1}\n',
        "list.json": b"[1, 2, 3]",
        "torn.json": b'[{"a": 1',
        "broken.parquet": b"PAR1" + bytes(40) + b"PAR1",
    }
    found = _written(folder, files)
    many = pa.table({"a": pa.DictionaryArray.from_arrays(pa.array(np.zeros(3_000_000, np.int32)), pa.array([1.0]))})
    pyarrow.parquet.write_table(many, folder / "many.parquet")
    cell = pa.DictionaryArray.from_arrays(pa.array(np.zeros(400_000, np.int32)), pa.array(["x" * 100_000]))
    pyarrow.parquet.write_table(pa.table({"a": cell}), folder / "cell.parquet", store_schema=False)
    return [*found, folder / "many.parquet", folder / "cell.parquet", *_special(folder, ".csv")]


def rows(like: dict[str, object]) -> list[dict[str, object]]:
    """Rows in memory of which none can be answered; `like` is a good one, whose first column holds numbers."""
    first = next(iter(like))
    nested: object = 1
    for _ in range(10_000):
        nested = [nested]
    bad = ["not a number", float("inf"), -float("inf"), nested, "9" * 2_000_000, {"a": {"b": "c"}}, b"\xff\xfe"]
    return [{**like, first: value} for value in bad] + [{}, {"unknown": 1}]


def _written(folder: Path, files: dict[str, bytes]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def _special(folder: Path, suffix: str) -> list[Path]:
    """What is no file: a device that never ends, a pipe that nobody fills, a circle of links, a folder, nothing."""
    found = [folder / f"{name}{suffix}" for name in ("zero", "pipe", "circle", "missing", "n" * 300)]
    found[0].symlink_to("/dev/zero")
    os.mkfifo(found[1])
    found[2].symlink_to(found[2])
    return found


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _png(width: int, height: int, pixels: bytes = b"", text: bytes = b"") -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    chunks += [(b"zTXt" if text[:1] == b"\0" else b"tEXt", b"Comment\0" + text)] if text else []
    chunks += [(b"IDAT", zlib.compress(pixels or bytes(1000), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _lying_text() -> bytes:
    """A tEXt chunk that says that it is 10^9 bytes long."""
    return _png(10, 10)[:33] + struct.pack(">I", 1_000_000_000) + b"tEXtComment\0" + bytes(100)


def _webp(width: int, height: int) -> bytes:
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    frame = _saved(Image.new("RGB", (4, 4)), "WEBP")[12:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size
    body += b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    body += b"ANMF" + struct.pack("<I", 16 + len(frame)) + bytes(6) + b"\x03\0\0\x03\0\0\x64\0\0\0" + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(width: int, height: int, tile: int = 0) -> bytes:
    """A header that promises; `tile` by that many a tile."""
    tags = [(256, width), (257, height), (258, 8), (259, 8 if tile else 1), (262, 1), (277, 1)]
    tags += [(322, tile), (323, tile), (324, 8), (325, 50)] if tile else [(273, 8), (278, height), (279, 100)]
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8) + ifd + struct.pack("<I", 0) + bytes(100)


def _float_tiff() -> bytes:
    return _saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF")


def _jpeg_of_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def _exif(data: bytes, block: bytes) -> bytes:
    """A JPEG cut after an EXIF block whose directory leads back to itself."""
    body = b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2 : len(data) // 2]


def _frames(kind: str, count: int) -> bytes:
    images = [Image.fromarray(np.full((4, 4), 255 * (shade % 2), np.uint8)) for shade in range(count)]
    return _saved(images[0], kind, save_all=True, append_images=images[1:], duration=10)


def _wav(
    data: bytes, rate: int = 8000, channels: int = 1, kind: int = 1, bits: int = 16, size: int | None = None
) -> bytes:
    step = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate, min(rate * step, 2**32 - 1), step % 65_536, bits)
    size = len(data) if size is None else size
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
        + data
    )
