"""The access log: a JSON line per request, written aside."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import orjson

from promptflow.workspace.atomic import make_folder
from serve.gateway.aside import aside

FLUSH_SECONDS = 0.1  # short, so that what is written at once is little
MOST = 16 * 1024 * 1024  # bytes that wait; lines beyond are dropped, and their number is said
FILE_BYTES = 64 * 1024 * 1024  # then a new file is begun; the one before is kept

logger = logging.getLogger(__name__)

Entry = tuple[float, bytes, str, str, str, bytes, int, float, int, int, str, Any]


class AccessLog:
    """No query strings, headers or bodies: they may hold what nobody is to read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = bytearray()  # one piece of memory, which is given back as a whole
        self._dropped = 0

    def add(self, entry: Entry) -> None:
        # Made here and not by the thread that writes: what holds the interpreter there keeps answers waiting.
        if len(self._lines) < MOST:
            self._lines += _line(entry)
            self._lines += b"\n"
        else:
            self._dropped += 1

    async def run(self) -> None:
        """Write from time to time, until cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                await self._flush()
        finally:
            self._write(self._lines, self._dropped)

    async def _flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, bytearray()
            dropped, self._dropped = self._dropped, 0
            await aside(self._write, lines, dropped)

    def _write(self, lines: bytearray, dropped: int) -> None:
        if dropped:
            lines += orjson.dumps({"dropped": dropped}) + b"\n"
        if not lines:
            return
        try:
            make_folder(self.path.parent)
            if self.path.exists() and self.path.stat().st_size > FILE_BYTES:
                os.replace(self.path, self.path.with_suffix(".previous.log"))
            descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(lines)
        except Exception as error:  # a full disk must not stop the answers
            logger.warning("%d bytes of the access log are lost: %s", len(lines), error)


def _line(entry: Entry) -> bytes:
    at, id, endpoint, deployment, method, path, status, seconds, received, sent, key, client = entry
    return orjson.dumps({
        "time": round(at, 3), "id": id.decode("latin-1"), "endpoint": endpoint, "deployment": deployment,
        "method": method, "path": path.decode("latin-1")[:512], "status": status, "ms": round(seconds * 1000, 2),
        "received": received, "sent": sent, "key": key, "client": client[0] if client else "",
    })  # fmt: skip
