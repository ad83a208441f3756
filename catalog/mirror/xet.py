"""What Xet clients upload: xorbs, which are chunks of files one after the other, and shards, which say of what chunks
files are made. Pure functions.

https://huggingface.co/docs/xet/xorb and https://huggingface.co/docs/xet/shard. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need

_MAGIC = b"HFRepoMetaData"
_HEADER = 48  # bytes of each record of a shard
_VERIFIED, _WITH_SHA256 = 1 << 31, 1 << 30
_NO_MORE = b"\xff" * 32
_CHUNK_HEADER = 8
_PLAIN, _LZ4, _GROUPED_LZ4 = 0, 1, 2


@dataclass(frozen=True)
class Chunk:
    """A part of a xorb: from ``start`` to ``end`` it is kept, in the ``form`` that makes ``size`` bytes of it."""

    start: int
    end: int
    form: int
    size: int


@dataclass(frozen=True)
class Segment:
    """The chunks from ``first`` up to ``last`` of a xorb, which are ``size`` bytes."""

    xorb: str
    first: int
    last: int
    size: int


@dataclass(frozen=True)
class Recipe:
    """A file of a shard. ``sha256`` is empty where the client does not say it."""

    sha256: str
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)


def parse_shard(data: bytes) -> list[Recipe]:
    """The files of a shard; ValidationException if it is none."""
    try:
        return [*_recipes(data)]
    except (struct.error, IndexError) as error:
        raise ValidationException("This is no shard: it ends too early.") from error


def _recipes(data: bytes) -> Iterator[Recipe]:
    if not data.startswith(_MAGIC):
        raise ValidationException("This is no shard.")
    at = _HEADER
    while data[at : at + 32] != _NO_MORE:
        flags, count = struct.unpack_from("<II", data, at + 32)
        at += _HEADER
        segments = tuple(_segment(data, at + number * _HEADER) for number in range(count))
        at += count * _HEADER * (2 if flags & _VERIFIED else 1)
        sha256 = ""
        if flags & _WITH_SHA256:
            struct.unpack_from("<32s", data, at)
            sha256, at = hash_text(data[at : at + 32]), at + _HEADER
        yield Recipe(sha256, segments)


def _segment(data: bytes, at: int) -> Segment:
    name, _, size, first, last = struct.unpack_from("<32sIIII", data, at)
    return Segment(hash_text(name), first, last, size)


def hash_text(name: bytes) -> str:
    """As Xet writes hashes: four numbers of eight bytes."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", name))


def parse_xorb(data: memoryview) -> list[Chunk]:
    """The chunks of a xorb, which may have a table of them at its end; ValidationException if it is none."""
    found, at = [], 0
    while at + _CHUNK_HEADER <= len(data) and data[at] == 0:
        start = at + _CHUNK_HEADER
        end = start + int.from_bytes(data[at + 1 : at + 4], "little")
        found.append(Chunk(start, end, data[at + 4], int.from_bytes(data[at + 5 : at + 8], "little")))
        at = end
    if not found or at > len(data):
        raise ValidationException("This is no xorb.")
    return found


def content(chunk: Chunk, data: bytes) -> bytes:
    """The bytes of a file that a chunk stands for; ValidationException if they are not as many as it says."""
    if chunk.form == _PLAIN:
        made = data
    elif chunk.form in (_LZ4, _GROUPED_LZ4):
        made = _unpacked(data, chunk.size)
    else:
        raise ValidationException(f"A chunk has the form {chunk.form}, which is unknown here.")
    if len(made) != chunk.size:
        raise ValidationException(f"A chunk has {len(made)} bytes, not {chunk.size}.")
    return _interleaved(made) if chunk.form == _GROUPED_LZ4 else made


def _unpacked(data: bytes, size: int) -> bytes:
    frame = need("lz4.frame", extra="catalog")
    try:
        # No more than it may be: what is packed can be a thousand times as large.
        return bytes(frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1))
    except (RuntimeError, EOFError) as error:
        raise ValidationException("A chunk cannot be unpacked.") from error


def _interleaved(data: bytes) -> bytes:
    """Every fourth byte from the first on comes first, then every fourth from the second on, and so on."""
    made, at = bytearray(len(data)), 0
    for group in range(4):
        count = len(made[group::4])
        made[group::4] = data[at : at + count]
        at += count
    return bytes(made)
