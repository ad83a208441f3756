"""A mirror on a free port of this machine, in a thread; and models in the hub's cache layout for it to serve."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from catalog.local import LocalModels
from catalog.mirror.app import create_app
from catalog.mirror.entries import LARGE, blob_oid
from catalog.mirror.serve import server_config
from promptflow.workspace import Workspace
from promptflow.workspace.http_server import listen


@contextmanager
def serving(workspace: Workspace, cache: Path) -> Iterator[str]:
    """The url of a mirror of the workspace and of a cache folder."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(create_app(workspace, LocalModels(cache))))
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),))
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def pulled(cache: Path, id: str, files: Mapping[str, bytes | Path], branch: str = "main") -> str:
    """Put a model into a cache folder as a pull leaves it; its commit."""
    repo = cache / f"models--{id.replace('/', '--')}"
    contents = {name: data if isinstance(data, bytes) else data.read_bytes() for name, data in files.items()}
    sha = hashlib.sha1(repr(sorted(contents.items())).encode()).hexdigest()
    for name, data in contents.items():
        etag = blob_oid(data) if len(data) < LARGE else hashlib.sha256(data).hexdigest()
        blob, link = repo / "blobs" / etag, repo / "snapshots" / sha / name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link.symlink_to("../" * (name.count("/") + 2) + f"blobs/{etag}")
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / branch).write_text(sha)
    return sha
