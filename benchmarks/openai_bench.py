"""What our HTTP face costs: CPU per request and per streamed chunk against a bare uvicorn application that sends the
same bytes; the same with the model on another server, against a bare uvicorn application that passes bytes on; and
tokens per CPU second of the transformers engine behind it against the bare engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from promptflow.workspace.http_server import listen
from serve.engines import open_engine
from serve.engines.base import Engine, Piece, Request
from serve.openai.app import OpenAIApp
from serve.router import Router, Served

AT_ONCE = 16
REQUESTS, CHUNKS = 4000, 200
PACE = 0.002  # seconds between two words of the server that is asked in turn
WORD = " word"


class Ready(Engine):
    """Has all its words at hand."""

    def __init__(self, words: int) -> None:
        super().__init__("ready")
        self.words = words

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        words = request.sampling.max_tokens or self.words
        for count in range(1, words):
            await asyncio.sleep(0)
            yield Piece(WORD, 5, count)
        yield Piece(WORD, 5, words, "stop")


class Bare:
    """The least that an ASGI application can do: reads the request, sends chunks that were made before."""

    def __init__(self) -> None:
        choice = {"index": 0, "delta": {"content": WORD}, "logprobs": None, "finish_reason": None}
        body = {"id": "chatcmpl-" + "0" * 24, "object": "chat.completion.chunk", "created": 1, "model": "ready"}
        self.chunk = b"data: " + json.dumps({**body, "choices": [choice]}).encode() + b"\n\n"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = json.loads((await receive())["body"])
        kind = b"text/event-stream" if body["stream"] else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for _ in range(body["max_tokens"] if body["stream"] else 0):
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": self.chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n" if body["stream"] else self.chunk})


class PassThrough:
    """The least that stands between a client and a server: what comes from one is sent to the other, unread."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self.session = aiohttp.ClientSession(connector=connector, headers={"content-type": "application/json"})
        body = (await receive())["body"]
        async with self.session.post(self.upstream + scope["path"], data=body) as answer:
            kind = answer.headers["content-type"].encode()
            await send({"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", kind)]})
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


class Upstream(Bare):
    """Streams a model's words one at a time, at the pace of a model: each is a packet of its own."""

    def __init__(self) -> None:
        super().__init__()
        usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        end = {**json.loads(self.chunk[6:]), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        self.end = b"data: " + json.dumps({**end, "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "GET":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        body = json.loads((await receive())["body"])
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for _ in range(body["max_tokens"]):
            await asyncio.sleep(PACE if body["max_tokens"] > 1 else 0)
            await send({"type": "http.response.body", "body": self.chunk, "more_body": True})
        await send({"type": "http.response.body", "body": self.end})


def application(kind: str, folder: str) -> Any:
    if kind == "bare":
        return Bare()
    if kind == "upstream":
        return Upstream()
    if kind == "pass-through":
        return PassThrough(folder)
    if kind == "remote":
        return OpenAIApp(Router([Served("ready", lambda: open_engine("ready", "remote", base_url=folder))]))
    if kind == "ours":
        return OpenAIApp(Router([Served("ready", lambda: Ready(1))]))
    return OpenAIApp(Router([Served("model", lambda: open_engine("model", "transformers", Path(folder)))]))


def serve(kind: str, port_file: Path, folder: str) -> None:
    """The process under test."""
    listener = listen("127.0.0.1", 0)
    listener.listen(2048)
    port_file.write_text(str(listener.getsockname()[1]))
    config = uvicorn.Config(application(kind, folder), log_level="warning", access_log=False, lifespan="off", ws="none")
    asyncio.run(uvicorn.Server(config).serve([listener]))


@contextmanager
def server(kind: str, folder: str = "") -> Iterator[tuple[int, str]]:
    """Its process id and address."""
    with tempfile.TemporaryDirectory() as place:
        port_file = Path(place) / "port"
        argv = [sys.executable, "-m", "benchmarks.openai_bench", "--serve", kind, str(port_file), folder]
        process = subprocess.Popen(argv)
        try:
            while not (port_file.exists() and port_file.read_text()):
                time.sleep(0.02)
            yield process.pid, f"http://127.0.0.1:{port_file.read_text()}"
        finally:
            process.terminate()
            process.wait()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ask_all(url: str, bodies: list[dict[str, Any]], route: str = "chat/completions") -> None:
    """All of them, so many at once."""
    left = iter(bodies)

    async def worker(session: aiohttp.ClientSession) -> None:
        for body in left:
            async with session.post(f"{url}/v1/{route}", json=body) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(worker(session) for _ in range(AT_ONCE)))


def cost(kind: str, requests: int, chunks: int, folder: str = "") -> float:
    """CPU seconds of the server for so many requests; 0 chunks: answers as one body."""
    message = [{"role": "user", "content": "Tell me something."}]
    body = {"model": "ready", "messages": message, "max_tokens": max(chunks, 1), "stream": chunks > 0}
    with server(kind, folder) as (pid, url):
        asyncio.run(ask_all(url, [body] * min(requests, 200)))
        before = cpu_seconds(pid)
        asyncio.run(ask_all(url, [body] * requests))
        return cpu_seconds(pid) - before


def openai(bench: Bench) -> list[Figure]:
    """What our side of the API adds to a request and to a streamed chunk, and what is left of the engine behind it."""
    return [*_in_process(), *_in_between(), _behind_http(64, min(bench.repetitions, 3))]


def _in_process() -> list[Figure]:
    """Against a bare uvicorn application that sends the same bytes."""
    request = {kind: _per_request(kind) for kind in ("bare", "ours")}
    chunk = {kind: _per_chunk(kind) for kind in ("bare", "ours")}
    return _added("the engine in the process", "bare uvicorn", request["ours"], request["bare"], chunk["ours"],
                  chunk["bare"])  # fmt: skip


def _in_between() -> list[Figure]:
    """With the model on another server. The pass-through hands on the stream as it comes, for our engine asks for one
    in any case; ours makes it one body where the client wants that."""
    with server("upstream") as (_, upstream):
        places = {"pass-through": upstream, "remote": f"{upstream}/v1"}
        request = {kind: _per_request(kind, place) for kind, place in places.items()}
        chunk = {kind: _per_chunk(kind, place) for kind, place in places.items()}
    return _added("the remote engine", "uvicorn + aiohttp", request["remote"], request["pass-through"],
                  chunk["remote"], chunk["pass-through"])  # fmt: skip


def _added(engine: str, to: str, request: float, bare: float, chunk: float, bare_chunk: float) -> list[Figure]:
    """Milliseconds of a request, microseconds of a chunk."""
    more, more_chunk = request - bare, chunk - bare_chunk
    return [
        Figure(f"OpenAI API over {engine}: CPU added to a request", f"{more:.3f} ms ({request:.3f})",
               f"{to} {bare:.3f} ms", "<= 1 ms", more <= 1),
        Figure("  CPU added to a streamed chunk", f"{more_chunk:.1f} µs ({chunk:.1f})", f"{to} {bare_chunk:.1f} µs",
               "<= 30 µs", more_chunk <= 30),
    ]  # fmt: skip


def _per_request(kind: str, place: str = "") -> float:
    return min(cost(kind, REQUESTS, 0, place) for _ in range(3)) / REQUESTS * 1e3


def _per_chunk(kind: str, place: str = "") -> float:
    many = max(40_000 // CHUNKS, 20)  # the clock of /proc ticks every 10 ms
    costs = [cost(kind, many, CHUNKS, place) - cost(kind, many, 1, place) for _ in range(3)]
    return min(costs) / (many * (CHUNKS - 1)) * 1e6


def _behind_http(tokens: int, repetitions: int) -> Figure:
    """The transformers engine behind HTTP, streaming, against the bare manager of transformers in a process. Each on
    one thread: threads of torch that wait for each other burn CPU, the more the busier the machine is."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from benchmarks.engine_bench import bare_manager, made, rated  # torch

    with tempfile.TemporaryDirectory() as place:
        folder = made(Path(place) / "model", 256, 4, 493)
        prompts = [f"{number} The quick brown fox jumps over the lazy dog and " for number in range(AT_ONCE)]
        bodies = [
            {"model": "model", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True}
            for prompt in prompts
        ]
        alone, behind = [], []
        with bare_manager(folder, prompts, tokens) as bare, server("engine", str(folder)) as (pid, url):
            bare()
            asyncio.run(ask_all(url, bodies, "completions"))
            for _ in range(repetitions):
                alone.append(rated(bare)[0])
                before = cpu_seconds(pid)
                asyncio.run(ask_all(url, bodies * 2, "completions"))
                behind.append(2 * AT_ONCE * tokens / (cpu_seconds(pid) - before))
    reference, ours = statistics.median(alone), statistics.median(behind)
    return Figure("OpenAI API over the torch engine: tokens per CPU second", f"{ours / reference:.2f}x ({ours:.0f})",
                  f"bare manager {reference:.0f}", ">= 0.85x", ours / reference >= 0.85)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "PORT_FILE", "FOLDER"), required=True)
    kind, port_file, folder = parser.parse_args().serve
    serve(kind, Path(port_file), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
