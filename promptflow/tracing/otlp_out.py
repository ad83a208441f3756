"""Finished traces to an OpenTelemetry collector over HTTP."""

from __future__ import annotations

import atexit
import gzip
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from promptflow.tracing import bridge, otlp, spool
from promptflow.tracing.aside import aside
from promptflow.tracing.payload import dumps

if TYPE_CHECKING:
    from promptflow.tracing.spans import Span

logger = logging.getLogger(__name__)

MAX_WAITING = 20_000  # spans; beyond that the oldest are dropped: a collector that is away must not fill the memory
_SECONDS = 1.0
_RETRIES = (0.5, 2.0)


class OtlpExporter:
    """Sends spans in the background, once a second and at the end of the process."""

    def __init__(self, url: str, headers: Mapping[str, str], protobuf: bool) -> None:
        self.url = url
        self._headers = dict(headers)
        self._protobuf = protobuf
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._sending = threading.Lock()
        self._timer: threading.Timer | None = None
        self._warned = False
        atexit.register(self.flush)

    def append(self, spans: Sequence[Span]) -> None:
        if bridge.active():
            return  # the process has an OpenTelemetry provider, with exporters of its own
        self._waiting.extend({**spool.row_of(span), "events": span.all_events()} for span in spans)
        if self._timer is None:
            self._timer = threading.Timer(_SECONDS, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Send what waits."""
        with self._sending:
            self._timer = None
            rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if rows:
                self._send(rows)

    def _send(self, rows: Sequence[Mapping[str, Any]]) -> None:
        resource = {key: value for key, value in spool.resource.items() if key not in ("collection", "session.id")}
        named = [
            {
                **row,
                "collection": row["attributes"].get("collection") or spool.resource.get("collection"),
                "session": row["attributes"].get("session_id") or spool.resource.get("session.id"),
            }
            for row in rows
        ]
        request = otlp.encode(named, resource)
        body = otlp.to_protobuf(request) if self._protobuf else _whole(request)
        kind = otlp.PROTOBUF if self._protobuf else otlp.JSON
        headers = {**self._headers, "Content-Type": kind, "Content-Encoding": "gzip"}
        problem = _post(self.url, gzip.compress(body, 5), headers)
        if problem and not self._warned:
            self._warned = True
            logger.warning("Traces could not be sent to %s: %s. They are in the workspace.", self.url, problem)


def exporter(url: str, environ: Mapping[str, str] = os.environ) -> OtlpExporter | None:
    """An exporter to a url of ``/v1/traces``, with the protocol and headers of OTEL_EXPORTER_OTLP_*."""
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or ""
    if protocol == "grpc":
        logger.warning("OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported: use http/protobuf or http/json.")
        return None
    given = environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environ.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    pairs = (part.partition("=") for part in given.split(",") if "=" in part)
    headers = {key.strip(): unquote(value.strip()) for key, _, value in pairs}
    return OtlpExporter(url, headers, protocol != "http/json" and _has_proto())


def _whole(request: Mapping[str, Any]) -> bytes:
    import orjson

    try:
        return orjson.dumps(request)
    except TypeError:
        return dumps(request).encode()


def _has_proto() -> bool:
    try:
        return find_spec("opentelemetry.proto") is not None and find_spec("google.protobuf") is not None
    except ModuleNotFoundError:
        return False


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> str:
    """The problem, or nothing. Tried again when the collector is busy or away."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    problem = ""
    for pause in (0.0, *_RETRIES):
        sleep(pause)
        try:
            with aside(), urlopen(Request(url, body, dict(headers), method="POST"), timeout=10):
                return ""
        except HTTPError as error:
            with error:
                problem = f"HTTP {error.code}"
                if error.code not in (429, 502, 503, 504):
                    return problem
        except OSError as error:
            problem = str(error)
    return problem
