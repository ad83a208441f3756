"""The files of a repo, named as git and Git LFS name them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LARGE = 1 << 20  # bytes; larger files are LFS files: known by their sha256, and uploaded by themselves


@dataclass(frozen=True)
class Entry:
    """A file. ``oid``: git's name of it; ``sha256`` is empty for small ones. ``place`` finds its bytes on this disk."""

    path: str
    size: int
    oid: str
    sha256: str
    place: Callable[[], Path]

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


def blob_oid(data: bytes) -> str:
    """Git's name of a file: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """What git keeps in the place of a large file: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def large_entry(path: str, size: int, sha256: str, place: Callable[[], Path]) -> Entry:
    """A file that is known by its sha256; git has a pointer to it."""
    return Entry(path, size, blob_oid(pointer(sha256, size)), sha256, place)


def entry_of(
    path: str, size: int, place: Callable[[], Path], *, sha256: Callable[[], str], oid: Callable[[], str]
) -> Entry:
    """A file by what the hub calls files of its size; only that name is asked for."""
    return large_entry(path, size, sha256(), place) if size >= LARGE else Entry(path, size, oid(), "", place)
