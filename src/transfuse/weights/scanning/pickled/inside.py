"""Pickles that lie as plain data inside a pickle: harmless until something decodes and opens them."""

import base64
import binascii
import io
from typing import TYPE_CHECKING

from transfuse.weights.scanning.findings import Refused

if TYPE_CHECKING:
    from transfuse.weights.scanning.pickled.machine import Machine

LONGEST = 2**16
"""Bytes of a literal up to which it is looked into."""
_DEEPEST = 4
_PLAIN = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_IN_BASE64 = (b"gAI", b"gAJ", b"gAK", b"gAM", b"gAN", b"gAO", b"gAQ", b"gAR", b"gAS", b"gAU", b"gAV", b"gAW")
_IN_HEX = (b"8002", b"8003", b"8004", b"8005")
_HOSTILE = {"pickle-name", "pickle-call", "pickle-inside"}


def carried(machine: "Machine", data: bytes) -> None:
    """Refuse a literal that is itself a pickle, plain, in base64 or in hexadecimal digits, which would run code."""
    if data[:1] not in (b"\x80", b"g", b"8") or machine.inside >= _DEEPEST:
        return
    data = _decoded(data)
    if not data.startswith(_PLAIN):
        return
    inner = type(machine)(io.BytesIO(data), len(data), where=machine.where)
    inner.inside = machine.inside + 1
    try:
        inner.run()
    except Refused as refusal:
        if refusal.finding.rule in _HOSTILE:
            reason = f"It carries another pickle as data. {refusal.finding.reason}"
            raise machine.refuse("pickle-inside", reason) from None


def _decoded(data: bytes) -> bytes:
    try:
        if data.startswith(_IN_BASE64):
            return base64.b64decode(data, validate=True)
        return binascii.unhexlify(data) if data.startswith(_IN_HEX) else data
    except ValueError:
        return b""
