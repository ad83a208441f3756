"""What is kept of an endpoint's requests and answers: sampled here, written elsewhere, and never in anybody's way.

Lines of JSON, each a CloudEvent as Azure's collector writes them.
"""

from __future__ import annotations

import base64
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from serve.endpoints.spec import Collector

MAX_PAYLOAD = 1024 * 1024  # bytes of one body; of a larger one, only its size is kept
INLINE = 32 * 1024  # bytes that are turned into lines at once; more is left to the thread that writes
MAX_WAITING = (
    32 * 1024 * 1024
)  # bytes of a deployment that are not written yet; what comes then is dropped, and counted

INPUTS, OUTPUTS = ("model_inputs", "request"), ("model_outputs", "response")
TYPES = {"model_inputs": "azureml.inference.inputs", "model_outputs": "azureml.inference.outputs"}


@dataclass(frozen=True, slots=True)
class Captured:
    """One request with its answer; a body that was too large is None."""

    id: str
    at: float
    path: str
    status: int
    media: str
    request: bytes | None
    request_size: int
    answer_media: str
    answer: bytes | None
    answer_size: int
    headers: dict[str, str]

    @property
    def size(self) -> int:
        return 256 + len(self.request or b"") + len(self.answer or b"")


class Taken:
    """Lines by collection and the minute that they are of, and of how many requests. One piece of memory for each, not
    one for each line: that is given back as a whole."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: dict[tuple[str, int], bytearray] = defaultdict(bytearray)

    def add(self, captured: Captured, names: list[str], lines: list[bytes]) -> None:
        self.count += 1
        for name, line in zip(names, lines, strict=True):
            buffer = self.lines[name, int(captured.at) // 60]
            buffer += line
            buffer += b"\n"


class Capture:
    """The queue between the gateway, which adds, and the thread that writes, which takes.

    Small ones are made into lines by who adds them: a thread that holds the interpreter keeps answers waiting.
    """

    def __init__(self, endpoint: str, deployment: str, settings: Collector) -> None:
        self.endpoint, self.deployment, self.settings = endpoint, deployment, settings
        self.dropped = 0
        self.headers = frozenset(name.lower().encode() for name in settings.capture_headers)
        self.names = [name for name, one in settings.collections.items() if one.enabled and name in (*INPUTS, *OUTPUTS)]
        self._due = 0.0
        self._taken = Taken()
        self._large: list[Captured] = []
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return self._bytes > 0

    def wants(self) -> bool:
        """Whether the next request is one of the sample: evenly spread, not by chance."""
        self._due += self.settings.sampling_rate
        if self._due < 1.0 - 1e-9:
            return False
        self._due -= 1.0
        return True

    def add(self, captured: Captured) -> None:
        small = captured.size < INLINE
        lines = self.lines(captured) if small else []
        with self._lock:
            if self._bytes + captured.size > MAX_WAITING:
                self.dropped += 1
                return
            self._bytes += captured.size
            if small:
                self._taken.add(captured, self.names, lines)
            else:
                self._large.append(captured)

    def take(self) -> Taken:
        """All that waits."""
        with self._lock:
            taken, self._taken = self._taken, Taken()
            large, self._large = self._large, []
            self._bytes = 0
        for one in large:
            taken.add(one, self.names, self.lines(one))
        return taken

    def lost(self, count: int) -> None:
        """So many could not be written."""
        with self._lock:
            self.dropped += count

    def lines(self, one: Captured) -> list[bytes]:
        """A line of JSON for each of ``names``."""
        return [orjson.dumps(self._event(name, one)) for name in self.names]

    def _event(self, name: str, one: Captured) -> dict[str, Any]:
        inputs = name in INPUTS
        body, size = (one.request, one.request_size) if inputs else (one.answer, one.answer_size)
        found: dict[str, Any] = {
            "specversion": "1.0",
            "id": f"{one.id}-{name}",
            "source": f"/endpoints/{self.endpoint}/deployments/{self.deployment}",
            "type": TYPES.get(name, f"azureml.inference.{name}"),
            "datacontenttype": (one.media if inputs else one.answer_media) or "application/json",
            "time": datetime.fromtimestamp(one.at, UTC),
            "correlationid": one.id,
            "xrequestid": one.id,
            "path": one.path,
            "status": one.status,
            "size": size,
        }
        if one.headers and inputs:
            found["headers"] = one.headers
        if body is not None:
            found.update(_data(body))
        return found


def _data(body: bytes) -> dict[str, Any]:
    """JSON as it is; what is none as base64, as CloudEvents have it."""
    try:
        return {"data": orjson.loads(body)}
    except ValueError:
        return {"data_base64": base64.b64encode(body).decode()}
