"""Files that come in the parts of Xet: kept for a while, and put together."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from catalog.mirror.errors import MirrorError
from catalog.mirror.uploads import Uploads
from catalog.mirror.xet import Chunk, Recipe, Segment, content, parse_shard, parse_xorb
from promptflow.exceptions import ValidationException
from promptflow.workspace.atomic import file_error, make_folder

_FOLDER = "xet-uploads"
_NAME = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{48})?")
_IDLE_SECONDS = 3600.0
_PIECE = 1 << 20
_MOST = (64 << 20) + (1 << 20)  # bytes of a xorb, which the protocol limits to 64 MiB, and its table


class XetUploads:
    """Sessions of clients. Each has an address of its own, and clients remember by it what they have sent: so nothing
    need be kept for their next session."""

    def __init__(self, uploads: Uploads) -> None:
        self.uploads = uploads
        self.folder = uploads.workspace.home / _FOLDER

    def begin(self) -> str:
        """A new session. Those that nobody has sent anything to for an hour are forgotten."""
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _IDLE_SECONDS:
                    shutil.rmtree(path)
        session = secrets.token_hex(8)
        make_folder(self.folder / session)
        return session

    async def receive(self, session: str, xorb: str, body: AsyncIterator[bytes]) -> None:
        """Keep a xorb until its session ends."""
        place = self._place(session, xorb)
        self.uploads.check_room(_MOST)
        new, got, waiting = place.with_name(f".{secrets.token_hex(4)}.tmp"), 0, bytearray()
        try:
            with new.open("xb") as file:
                async for part in body:
                    got += len(part)
                    if got > _MOST:
                        raise MirrorError(413, f"A xorb has at most {_MOST} bytes.")
                    waiting += part
                    if len(waiting) >= _PIECE:
                        await run_in_threadpool(file.write, bytes(waiting))
                        waiting.clear()
                await run_in_threadpool(file.write, bytes(waiting))
            with _mapped(new) as data:
                _chunks(data)
            os.replace(new, place)
        except OSError as error:
            raise file_error("keep an upload in", place.parent, error) from error
        finally:
            new.unlink(missing_ok=True)

    def finish(self, session: str, shard: bytes) -> None:
        """Put the files of a shard together, as if they had been uploaded whole."""
        self._place(session)
        for recipe in _checked(shard):
            self.uploads.check_room(recipe.size)
            self._make(session, recipe)

    def _make(self, session: str, recipe: Recipe) -> None:
        make_folder(self.uploads.folder)
        new = self.uploads.folder / f".{secrets.token_hex(8)}.tmp"
        digest, xorbs = hashlib.sha256(), _Xorbs(self.folder / session)
        try:
            with new.open("xb") as file:
                for segment in recipe.segments:
                    for piece in xorbs.pieces(segment):
                        file.write(piece)
                        digest.update(piece)
            found = digest.hexdigest()
            if recipe.sha256 and found != recipe.sha256:
                raise MirrorError(400, f"What came has the sha256 {found}, not {recipe.sha256}.")
            os.replace(new, self.uploads.folder / found)
        except OSError as error:
            raise file_error("keep an upload in", self.uploads.folder, error) from error
        finally:
            xorbs.close()
            new.unlink(missing_ok=True)

    def _place(self, session: str, xorb: str = "") -> Path:
        place = self.folder / session
        if not _NAME.fullmatch(session) or xorb and not _NAME.fullmatch(xorb) or not place.is_dir():
            raise MirrorError(404, "There is no such upload any more: begin it again.")
        return place / xorb if xorb else place


class _Xorbs:
    """The xorbs of a session, the last one open: a file takes most of its chunks from one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = ""
        self.data: mmap.mmap | None = None
        self.chunks: list[Chunk] = []

    def pieces(self, segment: Segment) -> list[bytes]:
        """The bytes of a segment."""
        if self.name != segment.xorb:
            self._open(segment.xorb)
        assert self.data is not None
        if not 0 <= segment.first < segment.last <= len(self.chunks):
            raise MirrorError(400, f"The xorb {segment.xorb} has no chunks {segment.first} to {segment.last}.")
        chunks = self.chunks[segment.first : segment.last]
        if sum(chunk.size for chunk in chunks) != segment.size:
            raise MirrorError(400, f"The chunks of {segment.xorb} are not the {segment.size} bytes of the shard.")
        try:
            return [content(chunk, self.data[chunk.start : chunk.end]) for chunk in chunks]
        except ValidationException as error:
            raise MirrorError(400, error.message) from error

    def close(self) -> None:
        if self.data is not None:
            self.data.close()
            self.data = None

    def _open(self, name: str) -> None:
        self.close()
        try:
            self.data = _mapped(self.folder / name)
        except FileNotFoundError as error:
            raise MirrorError(400, f"The xorb {name} was not uploaded.") from error
        self.name, self.chunks = name, _chunks(self.data)


def _mapped(path: Path) -> mmap.mmap:
    if not path.stat().st_size:
        raise MirrorError(400, "This is no xorb.")  # nothing cannot be mapped
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _chunks(data: mmap.mmap) -> list[Chunk]:
    try:
        with memoryview(data) as view:
            return parse_xorb(view)
    except ValidationException as error:
        raise MirrorError(400, error.message) from error


def _checked(shard: bytes) -> list[Recipe]:
    try:
        return parse_shard(shard)
    except ValidationException as error:
        raise MirrorError(400, error.message) from error
