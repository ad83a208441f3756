"""An OpenAI-compatible server that answers after a fixed time: raw asyncio, so that it is never the bottleneck.

    python -m benchmarks.slow_model --latency 0.2     # prints its port, serves until its stdin closes

The answer is a function of the last message alone. ``GET /stats`` tells how often it was asked and when (see
`Stats`), ``GET /calls`` how often for each message, ``GET /reset`` forgets all that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

from benchmarks.closed_loop import fast_loop

USAGE = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}


@dataclass
class Stats:
    """``first`` and ``last``: seconds at the first question and the last answer, on the server's clock.

    ``unanswered`` calls lost their caller before the answer; ``dangling`` connections were closed after an answer
    that no other call followed: when a caller is killed, the two together are all that it may have had in flight.
    """

    requests: int = 0
    inflight: int = 0
    max_inflight: int = 0
    unanswered: int = 0
    dangling: int = 0
    first: float = 0.0
    last: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)


class Answer(asyncio.Protocol):
    """One connection; requests come one after another."""

    def __init__(self, latency: float, stats: list[Stats]) -> None:
        self.latency = latency
        self.all_stats = stats
        self.loop = asyncio.get_running_loop()
        self.buffer = b""
        self.waiting: asyncio.TimerHandle | None = None
        self.asked = False

    @property
    def stats(self) -> Stats:
        return self.all_stats[0]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.stats.unanswered += 1
            self.stats.inflight -= 1
        elif self.asked:
            self.stats.dangling += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next(
            (int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")), 0
        )
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        if head.startswith(b"GET"):
            self.send(self.tell(head.split(b" ", 2)[1]))
        else:
            self.ask(str(json.loads(rest[:length])["messages"][-1]["content"]))

    def tell(self, path: bytes) -> dict[str, Any]:
        if path == b"/calls":
            return dict(self.stats.calls)
        told = {name: value for name, value in vars(self.stats).items() if name != "calls"}
        if path == b"/reset":
            self.all_stats[0] = Stats()
        return told

    def ask(self, text: str) -> None:
        stats = self.stats
        stats.first = stats.first or self.loop.time()
        stats.requests += 1
        stats.inflight += 1
        stats.max_inflight = max(stats.max_inflight, stats.inflight)
        stats.calls[text] += 1
        self.asked = True
        self.waiting = self.loop.call_later(self.latency, self.answer, text)

    def answer(self, text: str) -> None:
        self.waiting = None
        self.stats.inflight -= 1
        self.stats.last = self.loop.time()
        message = {"role": "assistant", "content": f"echo {text}"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self.send({"id": "x", "object": "chat.completion", "model": "m", "choices": choices, "usage": USAGE})

    def send(self, values: dict[str, Any]) -> None:
        body = json.dumps(values).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        if not self.transport.is_closing():
            self.transport.write(head.encode() + body)


async def serve(latency: float) -> None:
    loop = asyncio.get_running_loop()
    stats = [Stats()]
    server = await loop.create_server(lambda: Answer(latency, stats), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(serve(parser.parse_args().latency))
