"""Whether a PNG image shows anything: no library is needed for that."""

from __future__ import annotations

import struct
import zlib

_MAX_BYTES = 256 * 1024 * 1024
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Bytes of a pixel by colour type, at eight bits a channel."""
_EIGHT_BITS = 8
_UP, _AVERAGE, _PAETH = 2, 3, 4


def is_blank(image: bytes) -> bool | None:
    """Whether all pixels have one colour; None: it is no PNG as browsers write them."""
    try:
        width, rows = _rows(image)
    except (ValueError, struct.error, zlib.error):
        return None
    above = bytes(len(rows[0]) - 1)
    before = b""
    for row in rows:
        # The same bytes after a row of one colour are the same row again.
        if row == before:
            continue
        line = _unfilter(row, above, len(above) // width)
        pixel = line[: len(line) // width]
        if line != pixel * width or (before and line != above):
            return False
        above, before = line, row
    return True


def _rows(image: bytes) -> tuple[int, list[bytes]]:
    """The width, and the rows as they are filtered.

    Raises:
        ValueError, struct.error, zlib.error: It cannot be read.
    """
    if image[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("no PNG")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", image[16:29])
    size = width * _CHANNELS.get(colour, 0) + 1
    if depth != _EIGHT_BITS or interlaced or not width or not height or size == 1 or size * height > _MAX_BYTES:
        raise ValueError("not as browsers write it")
    data, at = b"", 8
    while at < len(image):
        length, kind = struct.unpack(">I4s", image[at : at + 8])
        if kind == b"IDAT":
            data += image[at + 8 : at + 8 + length]
        at += length + 12
    raw = zlib.decompressobj().decompress(data, size * height)
    if len(raw) != size * height:
        raise ValueError("cut short")
    return width, [raw[start : start + size] for start in range(0, len(raw), size)]


def _unfilter(row: bytes, above: bytes, step: int) -> bytes:
    """The row's pixels (https://www.w3.org/TR/png-3/#9Filters)."""
    kind, line = row[0], bytearray(row[1:])
    for at in range(len(line)):
        left = line[at - step] if at >= step else 0
        corner = above[at - step] if at >= step else 0
        if kind == 1:
            add = left
        elif kind == _UP:
            add = above[at]
        elif kind == _AVERAGE:
            add = (left + above[at]) // 2
        elif kind == _PAETH:
            guess = left + above[at] - corner
            add = min((left, above[at], corner), key=lambda value: abs(guess - value))
        else:
            add = 0
        line[at] = (line[at] + add) & 255
    return bytes(line)
