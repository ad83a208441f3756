"""Uploads into the workspace: large files one by one, then a commit that makes a version of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from catalog.contents import File
from catalog.mirror.changes import Change, Deleted, Header, Large, Small
from catalog.mirror.errors import MirrorError
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import file_error, make_folder

_FOLDER = "uploads"
_PIECE = 1 << 20
_KEPT_SECONDS = 7 * 86400  # of what was uploaded and never committed
_SPARE = 64 << 20  # bytes that an upload leaves free


class Uploads:
    """Large files on their way into the workspace's blobs, by their sha256."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder = workspace.home / _FOLDER

    def sweep(self) -> None:
        """Forget what was never committed."""
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                    path.unlink()

    def has(self, sha256: str) -> bool:
        """Whether it need not be sent: it was uploaded, or it is a part of something registered.

        What else is in the blobs, such as outputs of runs, is not for those who know no more than a hash.
        """
        if (self.folder / sha256).is_file():
            return True
        rows = self.workspace.store.list("asset_blobs", where={"blob": sha256}, limit=1)
        return bool(rows) and self.workspace.blobs.has(sha256)

    def check_room(self, size: int) -> None:
        """MirrorError (507) if the disk cannot take so many bytes."""
        free = shutil.disk_usage(make_folder(self.folder)).free
        if size > free - _SPARE:
            raise MirrorError(507, f"The mirror's disk has {max(0, free - _SPARE):,} bytes left; {size:,} are needed.")

    async def receive(self, sha256: str, size: int, body: AsyncIterator[bytes]) -> None:
        """Keep a file until it is committed. Its size and hash must be as they were said to be."""
        make_folder(self.folder)
        new = self.folder / f".{sha256}.{os.urandom(4).hex()}.tmp"
        digest, got, waiting = hashlib.sha256(), 0, bytearray()

        def write(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        try:
            with new.open("xb") as file:
                async for part in body:
                    got += len(part)
                    if got > size:
                        raise MirrorError(400, f"{sha256} is longer than the {size} bytes that were announced.")
                    waiting += part
                    if len(waiting) >= _PIECE:
                        await run_in_threadpool(write, bytes(waiting))
                        waiting.clear()
                await run_in_threadpool(write, bytes(waiting))
            if got != size or digest.hexdigest() != sha256:
                raise MirrorError(400, f"What came has {got} bytes and the sha256 {digest.hexdigest()}, not {sha256}.")
            os.replace(new, self.folder / sha256)
        except OSError as error:
            raise file_error("keep an upload in", self.folder, error) from error
        finally:
            new.unlink(missing_ok=True)

    def take(self, change: Large) -> File:
        """A large file of a commit, now in the blobs."""
        staged = self.folder / change.sha256
        if staged.is_file():
            blob = self.workspace.blobs.put_file(staged, link=True)
            if blob.digest != change.sha256:
                staged.unlink(missing_ok=True)
                raise MirrorError(400, f"{change.path} was damaged after its upload.")
            return File(change.path, blob.digest, blob.size)
        if not self.has(change.sha256):
            raise MirrorError(400, f"{change.path} ({change.sha256}) was not uploaded.")
        return File(change.path, change.sha256, self._size(change))

    def done(self, files: list[File]) -> None:
        """They are in a version now."""
        for file in files:
            (self.folder / file.digest).unlink(missing_ok=True)

    def _size(self, change: Large) -> int:
        blob = self.workspace.blobs.local_file(change.sha256)
        if blob is not None:
            return blob.stat().st_size
        return change.size if change.size is not None else len(self.workspace.blobs.get(change.sha256))


class Draft:
    """A commit as its lines come in: small files go into the blobs at once."""

    def __init__(self, uploads: Uploads) -> None:
        self.uploads = uploads
        self.header = Header()
        self.put: dict[str, File] = {}
        self.large: list[File] = []
        self.deleted: list[Deleted] = []

    def add(self, change: Change | None) -> None:
        match change:
            case Header():
                self.header = change
            case Small():
                blob = self.uploads.workspace.blobs.put(change.data)
                self.put[change.path] = File(change.path, blob.digest, blob.size)
            case Large():
                self.put[change.path] = self.uploads.take(change)
                self.large.append(self.put[change.path])
            case Deleted():
                self.deleted.append(change)
