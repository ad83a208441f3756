"""Calls to a vLLM server beside its OpenAI API: is it up, adapters, sleep, metrics. They block."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SAMPLE = re.compile(r"^vllm:(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
ENDED_WELL = ("stop", "length", "repetition")


class ControlError(Exception):
    """A call that was not answered well: Refused or Unreachable."""


class Refused(ControlError):
    """The server said no, in these words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{words} ({status})")
        self.status, self.words = status, words


class Unreachable(ControlError):
    """No answer came, or none that is whole."""


class Control:
    """``socket`` is the path of the one it listens on."""

    def __init__(self, socket: str, key: str) -> None:
        self.socket, self._key = socket, key

    def healthy(self, seconds: float = 5.0) -> bool:
        try:
            self._ask("GET", "/health", None, seconds)
        except ControlError:
            return False
        return True

    def get(self, path: str, seconds: float = 10.0) -> bytes:
        return self._ask("GET", path, None, seconds)

    def post(self, path: str, body: Mapping[str, Any] | None = None, seconds: float = 300.0) -> bytes:
        return self._ask("POST", path, body, seconds)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> bytes:
        """The body of a good answer; ControlError."""
        connection = _Connection(self.socket, seconds)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(str(error)) from error
        finally:
            connection.close()
        if response.status != 200:
            raise Refused(response.status, _words(data))
        return data


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _words(data: bytes) -> str:
    text = data.decode("utf-8", "replace").strip()
    try:
        told = json.loads(text)
        error = told.get("error", told)
        return str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        return text[:500]


@dataclass(frozen=True)
class Load:
    """What a server does now, and did so far."""

    running: int = 0
    waiting: int = 0
    finished: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cache_used: float = 0.0


def load_of(metrics: str) -> Load:
    """From the text of ``/metrics``; of several engines, the sum. Names that have changed count as 0."""
    sums: dict[str, float] = {}
    for name, labels, value in SAMPLE.findall(metrics):
        reason = re.search(r'finished_reason="(\w+)"', labels)
        key = f"{name}/{reason[1]}" if reason else name
        try:
            sums[key] = sums.get(key, 0.0) + float(value)
        except ValueError:
            continue

    def count(name: str) -> int:
        return int(sums.get(name, 0))

    return Load(
        running=count("num_requests_running"),
        waiting=count("num_requests_waiting"),
        finished=sum(count(f"request_success_total/{reason}") for reason in ENDED_WELL),
        failed=count("request_success_total/error"),
        prompt_tokens=count("prompt_tokens_total"),
        completion_tokens=count("generation_tokens_total"),
        cache_used=min(1.0, sums.get("kv_cache_usage_perc", sums.get("gpu_cache_usage_perc", 0.0))),
    )
