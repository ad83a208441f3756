"""Photos from customers carry where and when they were taken; here a PNG loses everything but its picture."""

import struct
from collections.abc import Iterator

from promptflow.contracts.multimedia import Image
from promptflow.core import tool

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"IDAT", b"IEND"}


@tool
def strip(photo: Image) -> dict:
    """``photo`` without its other chunks (text, EXIF, time), its size, and the names of what was removed."""
    chunks = list(split(bytes(photo)))
    kept = b"".join(whole for name, whole in chunks if name in NEEDED)
    width, height = struct.unpack(">II", chunks[0][1][8:16])
    removed = [name.decode() for name, _ in chunks if name not in NEEDED]
    return {"photo": Image(SIGNATURE + kept, "image/png"), "width": width, "height": height, "removed": removed}


def split(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: length, name, data, checksum."""
    if not data.startswith(SIGNATURE):
        raise ValueError("the photo is not a PNG")
    at = len(SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at : at + 12 + length]
        at += 12 + length
