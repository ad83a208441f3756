"""A small hub: the HTTP contract of huggingface.co over loopback, with the misdeeds that tests need.

``python -m tests.hub_server FOLDER`` serves the models in FOLDER/ORG/NAME, for benchmarks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 1 << 16  # files from here on are LFS files, known by sha256
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PIECE = 1 << 18


@dataclass
class Repo:
    """A model: its files (bytes, or a path), what the hub says of it, and who may read it."""

    files: dict[str, bytes | Path]
    facts: dict[str, Any] = field(default_factory=dict)
    gated: str | bool = False
    readers: tuple[str, ...] = ()  # tokens that a gated or private model is open to
    private: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    lies: dict[str, dict[str, Any]] = field(default_factory=dict)  # file -> {"sha256" or "size" or "blobId": said}
    sha: str = ""
    _hashes: dict[str, tuple[int, str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = "".join(f"{name}{self.hashes(name)}" for name in sorted(self.files))
        self.sha = self.sha or hashlib.sha1(named.encode()).hexdigest()
        self.refs.setdefault("main", self.sha)

    def hashes(self, name: str) -> tuple[int, str, str]:
        """Size, sha256 and git's sha1."""
        if name not in self._hashes:
            content = self.files[name]
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            sha, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
            for piece in pieces(content, 0, size):
                sha.update(piece)
                git.update(piece)
            self._hashes[name] = size, sha.hexdigest(), git.hexdigest()
        return self._hashes[name]

    def commit(self, revision: str) -> str | None:
        return self.sha if revision == self.sha else self.refs.get(revision)


def pieces(content: bytes | Path, start: int, end: int) -> Iterator[bytes]:
    if isinstance(content, bytes):
        for at in range(start, end, _PIECE):
            yield content[at : min(at + _PIECE, end)]
        return
    with content.open("rb") as file:
        file.seek(start)
        while start < end and (piece := file.read(min(_PIECE, end - start))):
            start += len(piece)
            yield piece


class HubServer(ThreadingHTTPServer):
    """``repos`` by id. ``spoil(path, start, data) -> data`` changes what is sent; ``asked`` are the requests so far.

    ``sent`` counts the bytes of files by path, ``tokens`` are the valid ones; ``digests`` off: no Content-Digest.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, repos: dict[str, Repo] | None = None, port: int = 0) -> None:
        self.repos = repos or {}
        self.tokens: dict[str, str] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.sent: Counter[str] = Counter()
        self.spoil: Callable[[str, int, bytes], bytes] | None = None
        self.digests = True
        self.ranges = True
        self.pause = 0.0  # seconds before each piece of a file
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def paths(self, part: str = "") -> list[str]:
        return [path for _, path, _ in self.asked if part in path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, *args: Any) -> None: ...

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        with self.server.lock:
            self.server.asked.append((self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        if path == "/api/models":
            return self._list(parse_qs(url.query))
        if path == "/api/whoami-v2":
            name = self.server.tokens.get(self._token())
            return self._json({"name": name}) if name else self._refuse(401, "", "Invalid credentials")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+)|/(auth-check))?", path):
            return self._model(*found.groups())
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*found.groups())
        self._refuse(404, "", "Not found")

    do_HEAD = do_GET

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _list(self, query: dict[str, list[str]]) -> None:
        def first(key: str) -> str:
            return query.get(key, [""])[0]

        found = [(id, repo) for id, repo in self.server.repos.items() if first("search").lower() in id.lower()]
        found = [(id, r) for id, r in found if set(query.get("filter", [])) <= {*r.facts.get("tags", [])}]
        task = first("pipeline_tag")
        found = [(id, r) for id, r in found if not task or r.facts.get("pipeline_tag") == task]
        found = [(id, r) for id, r in found if id.startswith(first("author"))]
        found.sort(key=lambda pair: -pair[1].facts.get("downloads", 0))
        page, size = int(first("cursor") or 0), min(int(first("limit") or 100), 100)
        answer = [self._facts(id, repo, files=False) for id, repo in found[page * size : (page + 1) * size]]
        more = {"Link": f'<{self.server.url}/api/models?{_again(query, page + 1)}>; rel="next"'}
        self._json(answer, more if len(found) > (page + 1) * size else {})

    def _model(self, id: str, revision: str | None, check: str | None) -> None:
        repo = self._readable(id, gate=bool(check))
        if repo is None:
            return
        if repo.commit(revision or "main") is None:
            return self._refuse(404, "RevisionNotFound", f"No revision {revision}")
        self._json(self._facts(id, repo, files=True))

    def _facts(self, id: str, repo: Repo, files: bool) -> dict[str, Any]:
        facts = {"id": id, "sha": repo.sha, "private": repo.private, "gated": repo.gated, "disabled": False,
                 "downloads": 0, "likes": 0, "tags": [], "lastModified": "2026-01-02T03:04:05.000Z", **repo.facts}  # fmt: skip
        if files:
            facts["siblings"] = [self._sibling(repo, name) for name in repo.files]
        return facts

    def _sibling(self, repo: Repo, name: str) -> dict[str, Any]:
        size, sha, git = repo.hashes(name)
        lies = repo.lies.get(name, {})
        said = {"rfilename": name, "size": lies.get("size", size), "blobId": lies.get("blobId", git)}
        if size >= LARGE:
            said["lfs"] = {"sha256": lies.get("sha256", sha), "size": said["size"], "pointerSize": 134}
        return said

    def _readable(self, id: str, gate: bool) -> Repo | None:
        repo, token = self.server.repos.get(id), self._token()
        if token and token not in self.server.tokens:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repo is None or repo.private and token not in repo.readers:
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif gate and repo.gated and token not in repo.readers:
            self._refuse(403 if token else 401, "GatedRepo", "Access to the model is restricted")
        else:
            return repo
        return None

    def _file(self, id: str, revision: str, name: str) -> None:
        repo = self._readable(id, gate=True)
        if repo is None:
            return
        commit = repo.commit(revision)
        if commit is None or name not in repo.files:
            return self._refuse(404, "EntryNotFound" if commit else "RevisionNotFound", "Not found")
        size, sha, git = repo.hashes(name)
        found = _RANGE.fullmatch(self.headers.get("Range", "")) if self.server.ranges else None
        start = int(found[1]) if found else 0
        end = min(size, int(found[2]) + 1) if found and found[2] else size
        if found and start >= size:
            return self._refuse(416, "", "No such range")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{sha if size >= LARGE else git}"', "Accept-Ranges": "bytes"}
        if size >= LARGE:
            headers |= {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(size)}
        if found:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            if self.server.digests and "adler" in self.headers.get("Want-Content-Digest", ""):
                value = zlib.adler32(b"".join(pieces(repo.files[name], start, end))).to_bytes(4, "big")
                headers["Content-Digest"] = f"adler=:{base64.b64encode(value).decode()}:"
        self._start(206 if found else 200, {**headers, "Content-Length": str(end - start)})
        if self.command != "HEAD":
            self._send(repo.files[name], f"/{id}/{name}", start, end)

    def _send(self, content: bytes | Path, path: str, start: int, end: int) -> None:
        for piece in pieces(content, start, end):
            if self.server.pause:
                time.sleep(self.server.pause)
            changed = self.server.spoil(path, start, piece) if self.server.spoil else piece
            with self.server.lock:
                self.server.sent[path] += len(changed)
            self.wfile.write(changed)
            start += len(piece)
            if len(changed) < len(piece):  # hang up in the middle
                self.close_connection = True
                break

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self._start(200, {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._start(status, {"X-Error-Code": code, "X-Error-Message": message, "Content-Length": "0"})

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if value:
                self.send_header(key, value)
        self.end_headers()


def _again(query: dict[str, list[str]], page: int) -> str:
    pairs = [f"{key}={value}" for key, values in query.items() if key != "cursor" for value in values]
    return "&".join([*pairs, f"cursor={page}"])


@contextmanager
def serving(repos: dict[str, Repo] | None = None) -> Iterator[HubServer]:
    """A hub that runs inside the block."""
    server = HubServer(repos)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main(folder: str, port: str = "0") -> None:
    repos = {
        f"{path.parent.name}/{path.name}": Repo(
            {f.relative_to(path).as_posix(): f for f in sorted(path.rglob("*")) if f.is_file()}
        )
        for path in Path(folder).glob("*/*")
        if path.is_dir()
    }
    server = HubServer(repos, int(port))
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
