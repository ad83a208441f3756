"""The graph of a flow: what references what, in which order, and what cannot be. Pure functions."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter

from promptflow.contracts.flow import Flow, Node, Problem
from promptflow.contracts.reference import Reference
from promptflow.exceptions import (
    EmptyOutputReference,
    InputReferenceNotFound,
    InvalidNodeReference,
    NodeCircularDependency,
    NodeReferenceNotFound,
    OutputReferenceNotFound,
)

At = Callable[..., tuple[int, int]]
_GRAPH = "Invalid node definitions found in the flow graph. "


def check_graph(flow: Flow, at: At = lambda *keys: (0, 0)) -> list[Problem]:
    """Every dangling, circular or impossible reference of a flow."""
    problems = []
    for index, node in enumerate(flow.nodes):
        problems += _check_node(flow, node, index, at)
    problems += _check_outputs(flow, at)
    if not problems:
        problems += _check_cycles(flow, at)
    return problems


def order(nodes: tuple[Node, ...]) -> list[Node]:
    """Nodes in an order in which each comes after what it references; stable where the file is already in order."""
    by_name = {node.name: node for node in nodes}
    position = {node.name: i for i, node in enumerate(nodes)}
    sorter: TopologicalSorter[str] = TopologicalSorter(
        {n.name: sorted(dependencies(n) & by_name.keys()) for n in nodes}
    )
    sorter.prepare()
    result: list[Node] = []
    while sorter.is_active():
        for name in sorted(sorter.get_ready(), key=position.__getitem__):
            result.append(by_name[name])
            sorter.done(name)
    return result


def dependencies(node: Node) -> set[str]:
    """Names of the nodes that ``node`` waits for."""
    return {reference.node for reference in node.references if reference.node is not None}


def _check_node(flow: Flow, node: Node, index: int, at: At) -> list[Problem]:
    names = {n.name for n in flow.nodes}
    aggregations = {n.name for n in flow.nodes if n.aggregation}
    problems = []
    if node.foreach is not None and node.foreach.item in names:
        line, column = at("nodes", index, "foreach")
        message = f"foreach of node '{node.name}' calls its item '{node.foreach.item}', which is a node's name."
        problems.append(Problem(message, line, column, "choose another name with as: …", f"nodes[{index}].foreach"))
    for key, reference in _located(node):
        line, column = at("nodes", index, *key)
        where = f"nodes[{index}]." + ".".join(key)
        if reference.is_input:
            if reference.name not in flow.inputs:
                hint = _did_you_mean(f"inputs.{reference.name}", [f"inputs.{name}" for name in flow.inputs])
                problems.append(
                    Problem(
                        f"{_GRAPH}Node '{node.name}' references flow input '{reference.name}' which is not defined in "
                        "your flow.",
                        line,
                        column,
                        hint,
                        where,
                        InputReferenceNotFound,
                    )
                )
        elif reference.node not in names:
            hint = _did_you_mean(f"{reference.node}.output", [f"{name}.output" for name in sorted(names - {node.name})])
            problems.append(
                Problem(
                    f"{_GRAPH}Node '{node.name}' references a non-existent node '{reference.node}' in your flow.",
                    line,
                    column,
                    hint,
                    where,
                    NodeReferenceNotFound,
                )
            )
        elif reference.node in aggregations and not node.aggregation:
            problems.append(
                Problem(
                    f"{_GRAPH}Non-aggregation node '{node.name}' cannot reference aggregation nodes "
                    f"{{'{reference.node}'}}.",
                    line,
                    column,
                    "make the node an aggregation node too, or reference a line node",
                    where,
                    InvalidNodeReference,
                )
            )
        elif node.aggregation and key[0] == "activate" and reference.node not in aggregations:
            problems.append(
                Problem(
                    f"{_GRAPH}Non-aggregation node '{reference.node}' cannot be referenced in the activate config of "
                    f"the aggregation node '{node.name}'.",
                    line,
                    column,
                    "",
                    where,
                    InvalidNodeReference,
                )
            )
    return problems


def _located(node: Node) -> list[tuple[tuple[str, ...], Reference]]:
    """The node's references with the keys that lead to them."""
    item = node.foreach.item if node.foreach else None
    found: list[tuple[tuple[str, ...], Reference]] = [
        (("inputs", name), value)
        for name, value in node.inputs.items()
        if isinstance(value, Reference) and (item is None or value.node != item)
    ]
    if node.activate is not None:
        found += [(("activate", "when"), reference) for reference in node.activate.references]
    if node.foreach is not None and isinstance(node.foreach.over, Reference):
        found.append((("foreach",), node.foreach.over))
    return found


def _check_outputs(flow: Flow, at: At) -> list[Problem]:
    names = {n.name for n in flow.nodes}
    problems = []
    for name, output in flow.outputs.items():
        line, column = at("outputs", name, "reference")
        where, prefix = f"outputs.{name}", f"The output '{name}' for flow is incorrect. "
        reference = output.reference
        if reference is None:
            if output.literal in ("", None):
                message = f"{prefix}The reference is not specified for the output '{name}' in the flow."
                hint = "add reference: ${node.output}"
                problems.append(Problem(message, *at("outputs", name), hint, where, EmptyOutputReference))
        elif reference.is_input and reference.name not in flow.inputs:
            message = f"{prefix}The output '{name}' references non-existent flow input '{reference.name}' in your flow."
            hint = _did_you_mean(f"inputs.{reference.name}", [f"inputs.{i}" for i in flow.inputs])
            problems.append(Problem(message, line, column, hint, where, OutputReferenceNotFound))
        elif not reference.is_input and reference.node not in names:
            message = f"{prefix}The output '{name}' references non-existent node '{reference.node}' in your flow."
            hint = _did_you_mean(f"{reference.node}.output", [f"{n}.output" for n in sorted(names)])
            problems.append(Problem(message, line, column, hint, where, OutputReferenceNotFound))
    return problems


def _check_cycles(flow: Flow, at: At) -> list[Problem]:
    try:
        order(flow.nodes)
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        index = next(i for i, n in enumerate(flow.nodes) if n.name == cycle[0])
        message = (
            f"{_GRAPH}Node circular dependency has been detected among the nodes in your flow: {' -> '.join(cycle)}."
        )
        hint = "remove one of these references"
        return [Problem(message, *at("nodes", index), hint, f"nodes[{index}]", NodeCircularDependency)]
    return []


def _did_you_mean(word: str, known: list[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean ${{{match[0]}}}?" if match else ""
