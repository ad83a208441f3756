"""A model's server for tests: OpenAI's API over real HTTP on loopback, with a script of what goes wrong.

Without a script every answer repeats the last user message. ``server.script(Reply(status=429), …)`` says what the
next requests get instead; ``server.requests`` is what arrived.
"""

from __future__ import annotations

import base64
import json
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Reply:
    """One scripted answer. ``cut``: close the connection after that many bytes of the body."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    drop: bool = False

    @staticmethod
    def error(status: int, message: str = "no", **more: Any) -> Reply:
        headers = more.pop("headers", {})
        return Reply(status, {"error": {"message": message, **more}}, headers)


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ModelServer:
    """The server, and what a test says to it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.replies: deque[Reply] = deque()
        self._http = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"model": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI connection takes."""
        return f"{self.url}/v1"

    def script(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request.body for request in self.requests]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # tests connect many times at once; what does not fit into the queue is lost


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: ModelServer

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}"))

    def _answer(self, body: dict[str, Any]) -> None:
        self.model.requests.append(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        reply = self.model.replies.popleft() if self.model.replies else Reply()
        time.sleep(reply.delay)
        if reply.drop:
            self.close_connection = True
            self.connection.close()
            return
        if body.get("stream") and reply.status == 200 and reply.body is None:
            self._send(reply, b"".join(_events(self.path, body)), "text/event-stream")
        else:
            data = _result(self.path, body) if reply.body is None else reply.body
            raw = data if isinstance(data, bytes) else json.dumps(data).encode()
            self._send(reply, raw, "application/json")

    def _send(self, reply: Reply, data: bytes, kind: str) -> None:
        self.send_response(reply.status)
        headers = {"Content-Type": kind, "Content-Length": str(len(data)), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data if reply.cut is None else data[: reply.cut])
        if reply.cut is not None:
            self.wfile.flush()
            self.close_connection = True


def _result(path: str, body: dict[str, Any]) -> dict[str, Any]:
    model = body.get("model") or path.split("/")[3:4] or "fake"
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    route = path.partition("?")[0]
    if route.endswith("/embeddings"):
        vector: Any = [0.5, -0.25]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    if route.endswith("/chat/completions"):
        message, finish = _message(body)
        choice = {"index": 0, "finish_reason": finish, "message": message}
        kind = "chat.completion"
    else:
        choice = {"index": 0, "finish_reason": "stop", "text": f"{body.get('prompt')} …"}
        kind = "text_completion"
    choices = [{**choice, "index": index} for index in range(int(body.get("n") or 1))]
    return {"id": "x", "object": kind, "created": 1, "model": model, "choices": choices, "usage": usage}


def _message(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    messages = body.get("messages") or [{}]
    tools = body.get("tools")
    if tools and messages[-1].get("role") != "tool":
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": tools[0]["function"]["name"], "arguments": "{}"},
        }
        return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    text = _text(next((m for m in reversed(messages) if m.get("role") == "user"), {}).get("content"))
    if (body.get("response_format") or {}).get("type") == "json_object":
        text = json.dumps({"said": text, "score": 4})
    return {"role": "assistant", "content": text}, "stop"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text") or f"<{part['type']}>" for part in content)
    return content or ""


def _events(path: str, body: dict[str, Any]) -> Iterator[bytes]:
    chat = path.partition("?")[0].endswith("/chat/completions")
    text = _message(body)[0]["content"] if chat else f"{body.get('prompt')} …"
    base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": body.get("model", "fake")}
    pieces = [word + " " for word in text.split(" ")]
    deltas = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)]
    parts = [{"delta": d} for d in deltas] if chat else [{"text": p} for p in pieces]
    for part in [*parts, {"delta": {}, "finish_reason": "stop"} if chat else {"text": "", "finish_reason": "stop"}]:
        choice = {"index": 0, "finish_reason": None, **part}
        yield b"data: " + json.dumps({**base, "choices": [choice]}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"
