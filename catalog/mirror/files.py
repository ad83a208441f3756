"""Files as answers: whole, or parts of them, with digests for clients that ask for them."""

from __future__ import annotations

import base64
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from catalog.mirror.access import refusal
from catalog.mirror.entries import Entry
from catalog.mirror.repo import Repo
from catalog.mirror.zerocopy import ZERO_COPY

_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")
_DIGESTED = 16 << 20  # bytes of a part whose digest is sent before it
_PIECE = 1 << 20
_AHEAD = 8 << 20  # bytes that the disk is asked for before they are sent


@dataclass(frozen=True)
class Served:
    """A file that may be sent: where it is, and what is said of it."""

    place: Path
    size: int
    etag: str
    headers: Mapping[str, str]


def served(repo: Repo, entry: Entry) -> Served:
    """A file of a repo as the hub's clients want it described."""
    headers = {
        "ETag": f'"{entry.etag}"',
        "X-Repo-Commit": repo.sha,
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
    }
    if entry.sha256:
        headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
    return Served(entry.place(), entry.size, f'"{entry.etag}"', headers)


def asked_part(asked: Mapping[str, str], file: Served) -> tuple[int, int] | None:
    """From where to where a request wants a file; None for all of it. An end before the start: there is no such part.

    Several ranges at once are answered with the whole file, as they may be.
    """
    found = _RANGE.fullmatch(asked.get("range", ""))
    if found is None or not (found[1] or found[2]) or asked.get("if-range", file.etag) != file.etag:
        return None
    if found[1] is None:
        return max(0, file.size - int(found[2])), file.size if int(found[2]) else -1
    start, end = int(found[1]), min(int(found[2]) + 1 if found[2] else file.size, file.size)
    return (start, end) if start < end else (start, -1)


def file_response(file: Served, asked: Mapping[str, str]) -> Response:
    """The file, or the part that the request is for.

    Who asks by ``Want-Content-Digest: adler`` gets the Adler-32 of a part (RFC 9530): so a pull finds the part that was
    damaged on its way, long before the hash of the whole file is known.
    """
    part = asked_part(asked, file)
    if part is None:
        return FilePart(200, file, 0, file.size, file.headers)
    start, end = part
    if end < 0:
        return Response(status_code=416, headers={**file.headers, "Content-Range": f"bytes */{file.size}"})
    headers = {**file.headers, "Content-Range": f"bytes {start}-{end - 1}/{file.size}"}
    if "adler" in asked.get("want-content-digest", "") and end - start <= _DIGESTED:
        headers["Content-Digest"] = f"adler=:{_adler(file.place, start, end)}:"
    return FilePart(206, file, start, end, headers)


class FilePart(Response):
    """Bytes of a file: by the kernel where the server can, else read piece by piece."""

    def __init__(self, status: int, file: Served, start: int, end: int, headers: Mapping[str, str]) -> None:
        own = {**headers, "Content-Length": str(end - start), "Content-Type": "application/octet-stream"}
        super().__init__(status_code=status, headers=own)
        self.file, self.start, self.end = file, start, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            file = self.file.place.open("rb", buffering=0)
        except OSError:  # removed meanwhile
            return await refusal(404, "This file is not here any more.", "EntryNotFound")(scope, receive, send)
        with file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            count = self.end - self.start
            if scope["method"] == "HEAD" or not count:
                await send({"type": "http.response.body"})
            elif ZERO_COPY in scope.get("extensions", {}):
                _read_ahead(file, self.start, count)
                await send({"type": ZERO_COPY, "file": file, "offset": self.start, "count": count})
            else:
                await self._send_pieces(file, send)

    async def _send_pieces(self, file: BinaryIO, send: Send) -> None:
        for start in range(self.start, self.end, _PIECE):
            end = min(start + _PIECE, self.end)
            data = await run_in_threadpool(os.pread, file.fileno(), end - start, start)
            await send({"type": "http.response.body", "body": data, "more_body": end < self.end})


def _read_ahead(file: BinaryIO, start: int, count: int) -> None:
    # What is not in memory yet is read while nobody waits: the kernel's sending would hold up all other requests.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), start, min(count, _AHEAD), os.POSIX_FADV_WILLNEED)


def _adler(place: Path, start: int, end: int) -> str:
    with place.open("rb") as file:
        file.seek(start)
        data = file.read(end - start)
    return base64.b64encode(zlib.adler32(data).to_bytes(4, "big")).decode()
