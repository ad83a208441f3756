"""Overrides of nodes: ``nodes[ask].inputs.model`` -> the node ``ask`` and its field ``model``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from promptflow.contracts.flow import Flow, Node
from promptflow.exceptions import OverrideError

_PATH = re.compile(
    r"nodes(?:\[(?P<index>\d+)\]|\[(?P<name>[^\[\]]+)\]|\.(?P<plain>[^.\[\]]+))\.(?P<field>.+)", re.DOTALL
)


def node_overrides(flow: Flow, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """``{"nodes[0].inputs.model": …}`` as ``{"ask.model": …}``, which `Flow.with_overrides` takes.

    A node goes by its number or its name: ``nodes[0]``, ``nodes[ask]``, ``nodes.ask``. Raises OverrideError.
    """
    return {_target(flow, path): value for path, value in (given or {}).items()}


def _target(flow: Flow, path: str) -> str:
    match = _PATH.fullmatch(path)
    if match is None:
        if path.startswith("nodes["):
            raise OverrideError(f"{path} is no path to an input of a node.", hint="nodes[NAME].inputs.INPUT=value")
        return path  # ask.model
    node = _node(flow, match, path)
    field = match["field"]
    head, dot, name = field.partition(".")
    if head != "inputs" or not dot:
        return f"{node.name}.{field}"
    near = get_close_matches(name, node.inputs, 1, cutoff=0.7)
    if name not in node.inputs and (near or "." in name):
        hint = f"did you mean {near[0]}?" if near else f"inputs: {', '.join(node.inputs) or 'none'}"
        raise OverrideError(f"{path}: node '{node.name}' has no input '{name}'.", hint=hint)
    return f"{node.name}.{name}"


def _node(flow: Flow, match: re.Match[str], path: str) -> Node:
    name = match["name"] or match["plain"]
    if name is None:
        index = int(match["index"])
        if index < len(flow.nodes):
            return flow.nodes[index]
        raise OverrideError(f"{path}: the flow has {len(flow.nodes)} nodes, 0 is the first.")
    node = flow.node(name.strip("'\""))
    if node is None:
        names = [node.name for node in flow.nodes]
        near = get_close_matches(name, names, 1, cutoff=0.5)
        hint = f"did you mean nodes[{near[0]}]?" if near else f"nodes: {', '.join(names)}"
        raise OverrideError(f"{path}: the flow has no node '{name}'.", hint=hint)
    return node
