"""Files as answers: whole, or parts of them, with digests for clients that ask for them."""

from __future__ import annotations

import base64
import re
import zlib

from fastapi import Request
from fastapi.responses import FileResponse, Response

from catalog.mirror.repo import Entry, Repo

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")
_IN_MEMORY = 16 << 20  # bytes of a part whose digest is sent before it


class _File(FileResponse):
    chunk_size = 1 << 20  # a thread is asked for each


def file_response(repo: Repo, entry: Entry, request: Request) -> Response:
    """The file, or the part that the request is for.

    Who asks by ``Want-Content-Digest: adler`` gets the Adler-32 of a part (RFC 9530): so a pull finds the part that was
    damaged on its way, long before the hash of the whole file is known.
    """
    headers = {
        "ETag": f'"{entry.etag}"',
        "X-Repo-Commit": repo.sha,
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
    }
    if entry.sha256:
        headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked and "adler" in request.headers.get("want-content-digest", ""):
        start, end = int(asked[1]), min(int(asked[2]) + 1, entry.size)
        if start < end <= start + _IN_MEMORY:
            return _part(entry, start, end, headers)
    return _File(entry.place(), headers=headers, media_type="application/octet-stream")


def _part(entry: Entry, start: int, end: int, headers: dict[str, str]) -> Response:
    with entry.place().open("rb") as file:
        file.seek(start)
        data = file.read(end - start)
    digest = base64.b64encode(zlib.adler32(data).to_bytes(4, "big")).decode()
    headers |= {
        "Accept-Ranges": "bytes",
        "Content-Range": f"bytes {start}-{end - 1}/{entry.size}",
        "Content-Digest": f"adler=:{digest}:",
    }
    return Response(data, 206, headers, media_type="application/octet-stream")
