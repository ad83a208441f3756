"""Which endpoint a URL means, and what its instance is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

PREFIX = b"/endpoints/"
MODELS = (b"/v2/models/", b"/v1/models/")  # Open Inference Protocol, KServe
OPENAI = frozenset(
    f"/v1/{name}".encode() for name in ("chat/completions", "completions", "embeddings", "responses", "rerank")
)


@dataclass(frozen=True, slots=True)
class Target:
    """``endpoint`` is empty where the body says it, as OpenAI's do. ``path`` is what the instance is asked for."""

    endpoint: str
    path: bytes


def locate(raw: bytes) -> Target | None:
    """The target of a request's path (as it came, without its query); None: this is no request to an endpoint.

    ``/endpoints/NAME/...`` is everything that NAME's instances answer; at the root the model is the endpoint.
    """
    if raw.startswith(PREFIX):
        name, slash, inner = raw[len(PREFIX) :].partition(b"/")
        return Target(_name(name), slash + inner) if name and slash else None
    if raw in OPENAI:
        return Target("", raw)
    for prefix in MODELS:
        if raw.startswith(prefix):
            name = raw[len(prefix) :].partition(b"/")[0].partition(b":")[0]
            return Target(_name(name), raw) if name else None
    return None


def error_style(path: bytes) -> str:
    """How clients of a dialect expect to be told of an error."""
    if path.startswith(b"/v2") or path.startswith(b"/v1/models/") and path.endswith(b":predict"):
        return "inference"
    return "mlflow" if path == b"/invocations" else "azure"


def _name(raw: bytes) -> str:
    """A name as it is known; one that cannot be any becomes one that nothing has."""
    try:
        return unquote_to_bytes(raw).decode("ascii") if b"%" in raw else raw.decode("ascii")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
