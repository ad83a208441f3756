"""What every deployment answers to questions about itself, whatever it predicts with; and the paths of predictions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, MethodError

MLFLOW = "2.22.0"  # of the protocol that clients ask for; theirs has not changed since 2.0
V1 = re.compile(r"/v1/models/([^/:]+)(:predict)?")
V2 = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/infer|/ready)?")
_FACTS: Mapping[str, tuple[bytes, str]] = {
    "/ping": (b"\n", "application/json"),
    "/health": (b"\n", "application/json"),
    "/version": (MLFLOW.encode(), "text/plain"),
    "/v2": (to_json({"name": "promptflow", "version": "2", "extensions": ["binary_tensor_data"]}), "application/json"),
    "/v2/health/live": (to_json({"live": True}), "application/json"),
    "/v2/health/ready": (to_json({"ready": True}), "application/json"),
}


def fact(path: str) -> Answer | None:
    """The answer where it is the same for all: that it lives, is ready, speaks a version."""
    if path in _FACTS:
        body, media = _FACTS[path]
        return Answer(body, media=media)
    if (found := V1.fullmatch(path)) and not found[2]:
        return Answer(to_json({"name": found[1], "ready": True}))
    if (found := V2.fullmatch(path)) and found[3] == "/ready":
        return Answer(to_json({"name": found[1], "ready": True}))
    return None


def predicts(path: str) -> bool:
    """Whether the path is where MLflow's, KServe's or the Open Inference Protocol's clients ask for predictions."""
    one, two = V1.fullmatch(path), V2.fullmatch(path)
    return path == "/invocations" or bool(one and one[2]) or bool(two and two[3] == "/infer")


def metadata(path: str, platform: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> Answer:
    """The answer at ``/v2/models/NAME``: what it takes and gives."""
    found = V2.fullmatch(path)
    assert found is not None
    told = {"name": found[1], "versions": [found[2] or "1"], "platform": platform}
    return Answer(to_json({**told, "inputs": inputs, "outputs": outputs}))


def posted(call: Call) -> Call:
    """``call``, unless it has a method that brings no body."""
    if call.method != "POST":
        raise MethodError(call.method, call.path)
    return call


def is_metadata(path: str) -> bool:
    found = V2.fullmatch(path)
    return found is not None and not found[3]


def tensor(name: str, datatype: str, shape: tuple[int, ...] | list[int]) -> dict[str, Any]:
    """An input or output as the metadata tell of it; a size of -1 is any."""
    return {"name": name, "datatype": datatype, "shape": list(shape)}
