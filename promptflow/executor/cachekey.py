"""Keys of the node cache: a digest of all that a node's result depends on.

An LLM node's is that of the request it makes: the rendered prompt, model and parameters, and where it goes. A Python
node's is that of its source, or its package's version, and of its arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from promptflow._version import __version__
from promptflow.connections.identity import identity
from promptflow.contracts.flow import Flow, Node
from promptflow.contracts.multimedia import Image
from promptflow.contracts.reference import Reference
from promptflow.contracts.types import PromptTemplate
from promptflow.executor.steps import Step
from promptflow.storage.exact import is_exact
from promptflow.tooling.registry import package_tool
from promptflow.tooling.script import script_path
from promptflow.tooling.sources import source_digest

_EXACT = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS
_AS_SENT = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
_TAG = "\0"  # no key of users' objects: what stands under it is no plain value


class NotCacheable(Exception):
    """The node's arguments cannot be told apart by their JSON."""


def request_part(step: Step) -> bytes:
    """What is the same in all requests of an LLM node: where they go."""
    return _digest(["request", identity(step.connection)], b"", _AS_SENT)


def request_key(part: bytes, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    """The key of an LLM node that makes these requests. Raises NotCacheable."""
    return _digest(requests, part, _AS_SENT)


def tool_part(flow: Flow, step: Step, environment: Mapping[str, str]) -> bytes:
    """What is the same in all calls of a tool: its code, how it is made, the flow's environment variables.

    Raises NotCacheable."""
    source = step.node.source
    assert source is not None
    if source.tool:
        tool = package_tool(source.tool)
        version = tool.package_version or (__version__ if tool.package == "promptflow" else "")
        code: list[Any] = [tool.package, version, source.tool]
    else:
        file = script_path(flow.folder, source.path, step.name)
        code = [source_digest(file, flow.folder), step.function]
    return _digest(["tool", code, _arguments(step.init), dict(environment)], b"", _EXACT)


def tool_key(part: bytes, calls: Sequence[Mapping[str, Any]]) -> bytes:
    """The key of a node that calls its tool with these arguments. Raises NotCacheable."""
    return _digest([_arguments(call) for call in calls], part, _EXACT)


def can_repeat(given: Mapping[str, Any]) -> bool:
    """Whether a model samples the same each time: temperature 0, or a seed. ``given``: parameters of the call."""
    return given.get("seed") not in (None, "") or _is_zero(given.get("temperature"))


def may_repeat(node: Node) -> bool:
    """Whether a call of this node might, as far as can be told before its inputs are known."""
    given = {name: node.inputs.get(name) for name in ("temperature", "seed")}
    return can_repeat(given) or any(isinstance(value, Reference) for value in given.values())


def _is_zero(value: Any) -> bool:
    try:
        return float(value) == 0
    except (TypeError, ValueError):
        return False


def _digest(value: Any, part: bytes, options: int) -> bytes:
    try:
        return hashlib.blake2b(orjson.dumps(value, _tagged, options), digest_size=20, key=part).digest()
    except TypeError as error:  # as all of orjson's are
        raise NotCacheable(str(error)) from error


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if type(value) is str else _told(value) for name, value in given.items()}


def _told(value: Any) -> Any:
    """``value`` as JSON tells it from others."""
    if is_exact(value):
        return value
    if isinstance(value, PromptTemplate):
        return {_TAG: str(value)}
    if getattr(value, "__promptflow_connection__", False):
        return {_TAG: identity(value)}
    if isinstance(value, str) and hasattr(value, "escaped_string"):  # the rendered prompt of an earlier node
        return {_TAG: [str(value), value.escaped_string]}
    raise NotCacheable(type(value).__name__)


def _tagged(value: Any) -> Any:
    if isinstance(value, Image):
        return {_TAG: [value._mime_type, hashlib.sha256(value).hexdigest()]}
    raise TypeError(type(value).__name__)
