"""A flow.dag.yaml as data: inputs, outputs, nodes, variants. Parsing is in `flow_yaml`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from promptflow.contracts.condition import Condition
from promptflow.contracts.reference import Reference, is_reference, parse_reference
from promptflow.contracts.tool import ToolType, ValueType
from promptflow.exceptions import InvalidFlowError

DAG_FILES = ("flow.dag.yaml", "flow.dag.yml")
FLEX_FILES = ("flow.flex.yaml", "flow.flex.yml")


@dataclass(frozen=True)
class Problem:
    """One finding in a file. ``line`` and ``column`` count from 1; 0 where unknown."""

    message: str
    line: int = 0
    column: int = 0
    hint: str = ""
    where: str = ""
    error_class: type[Exception] | None = None


@dataclass(frozen=True)
class FlowInput:
    """An input of a flow. ``type`` is a ValueType, or the name of a connection or model configuration class."""

    name: str
    type: ValueType | str
    default: Any = None
    has_default: bool = False
    description: str = ""
    enum: tuple[Any, ...] = ()
    is_chat_input: bool = False
    is_chat_history: bool | None = None


@dataclass(frozen=True)
class FlowOutput:
    """An output of a flow: a reference, or a literal where the YAML holds one."""

    name: str
    type: ValueType | str
    reference: Reference | None
    literal: Any = None
    description: str = ""
    evaluation_only: bool = False
    is_chat_output: bool = False


@dataclass(frozen=True)
class ToolSource:
    """Where a node's tool comes from: ``code`` or ``flow`` (path), ``package`` or ``package_with_prompt`` (tool)."""

    type: str = "code"
    path: str | None = None
    tool: str | None = None


@dataclass(frozen=True)
class Activate:
    """``activate``: run the node when ``when`` equals ``equals`` (old form), or when ``condition`` holds."""

    when: Reference | Any
    equals: Any = None
    condition: Condition | None = None

    @property
    def references(self) -> tuple[Reference, ...]:
        if self.condition is not None:
            return self.condition.references
        return (self.when,) if isinstance(self.when, Reference) else ()


@dataclass(frozen=True)
class Retry:
    """Run a failed node again: ``max_retries`` times, after ``delay`` seconds that grow by ``backoff``."""

    max_retries: int
    delay: float = 1.0
    backoff: float = 2.0


@dataclass(frozen=True)
class ForEach:
    """Run a node once per item of ``over``, at most ``concurrency`` at once; inputs read the item as ``${item}``."""

    over: Reference | list[Any]
    item: str = "item"
    concurrency: int = 8


@dataclass(frozen=True)
class Node:
    """A node. ``inputs`` values are literals or References; ``isolation`` is ``process``, ``none`` or the tool's."""

    name: str
    type: ToolType | None
    source: ToolSource | None
    inputs: dict[str, Any] = field(default_factory=dict)
    connection: str | None = None
    api: str | None = None
    provider: str | None = None
    module: str | None = None
    aggregation: bool = False
    enable_cache: bool | None = None
    use_variants: bool = False
    activate: Activate | None = None
    comment: str = ""
    timeout: float | None = None
    retry: Retry | None = None
    foreach: ForEach | None = None
    isolation: str | None = None
    line: int = 0

    @property
    def references(self) -> list[Reference]:
        """Every reference the node waits for, those of its condition and its loop included."""
        found = [value for value in self.inputs.values() if isinstance(value, Reference)]
        if self.activate is not None:
            found.extend(self.activate.references)
        if self.foreach is not None:
            found = [r for r in found if r.node != self.foreach.item]
            if isinstance(self.foreach.over, Reference):
                found.append(self.foreach.over)
        return found


@dataclass(frozen=True)
class NodeVariants:
    """The variants of a node, by id; each is a whole node."""

    default_variant_id: str
    variants: dict[str, Node]


@dataclass(frozen=True)
class Flow:
    """A DAG flow. ``nodes`` already hold the default variant of every node that has variants."""

    name: str
    folder: Path
    file: Path
    inputs: dict[str, FlowInput]
    outputs: dict[str, FlowOutput]
    nodes: tuple[Node, ...]
    node_variants: dict[str, NodeVariants] = field(default_factory=dict)
    environment_variables: dict[str, Any] = field(default_factory=dict)
    additional_includes: tuple[str, ...] = ()
    message_format: str = "basic"
    language: str = "python"
    type: str = "standard"
    id: str = "default_flow_id"
    display_name: str | None = None
    description: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    kind = "dag"

    @property
    def chat_input(self) -> str | None:
        return next((name for name, i in self.inputs.items() if i.is_chat_input), None)

    @property
    def chat_history(self) -> str | None:
        """The chat-history input: the one so marked, else one named ``chat_history`` in a chat flow."""
        marked = next((name for name, i in self.inputs.items() if i.is_chat_history), None)
        return marked or ("chat_history" if self.chat_input and "chat_history" in self.inputs else None)

    @property
    def chat_output(self) -> str | None:
        return next((name for name, o in self.outputs.items() if o.is_chat_output), None)

    @property
    def has_aggregation(self) -> bool:
        return any(node.aggregation for node in self.nodes)

    def node(self, name: str) -> Node | None:
        return next((node for node in self.nodes if node.name == name), None)

    def with_variant(self, variant: str | None) -> Flow:
        """The flow with ``${node.variant_id}`` chosen. Raises InvalidFlowError where there is none such."""
        if not variant:
            return self
        node_name, variant_id = parse_variant(variant)
        if self.node(node_name) is None:
            raise InvalidFlowError(f"Node {node_name} not found in flow")
        choices = self.node_variants.get(node_name)
        if choices is None or variant_id not in choices.variants:
            known = ", ".join(choices.variants) if choices else "none"
            raise InvalidFlowError(
                f"Variant {variant_id} not found for node {node_name}", hint=f"variants of {node_name}: {known}"
            )
        return self.with_node(choices.variants[variant_id])

    def with_node(self, node: Node) -> Flow:
        return replace(self, nodes=tuple(node if n.name == node.name else n for n in self.nodes))

    def with_overrides(self, overrides: dict[str, Any]) -> Flow:
        """Override ``node.connection``, ``node.input`` values: ``{"ask.connection": "mine", "ask.model": "x"}``."""
        flow = self
        for key, value in overrides.items():
            node_name, _, field_name = key.partition(".")
            node = flow.node(node_name)
            if node is None:
                raise InvalidFlowError(f"Node {node_name} not found in flow")
            if field_name == "connection" and node.connection:
                flow = flow.with_node(replace(node, connection=value))
            else:
                flow = flow.with_node(replace(node, inputs={**node.inputs, field_name: parse_value(value)}))
        return flow

    def environment_with(self, overrides: dict[str, Any] | None = None) -> dict[str, str]:
        """The flow's environment variables as texts, ``overrides`` on top."""
        return {k: as_text(v) for k, v in {**self.environment_variables, **(overrides or {})}.items()}


def as_text(value: Any) -> str:
    """How a YAML value reads as an environment variable: text as it is, lists and objects as JSON."""
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def parse_value(value: Any) -> Any:
    """A node input as YAML holds it: a Reference where the whole text is one, else the literal."""
    return parse_reference(value) if is_reference(value) else value


def parse_variant(text: str) -> tuple[str, str]:
    """``${node.variant}`` -> ``(node, variant)``."""
    body = text.strip()
    if body.startswith("${") and body.endswith("}"):
        body = body[2:-1]
    node, dot, variant = body.partition(".")
    if not (node and dot and variant):
        raise InvalidFlowError(
            f"Invalid variant format: {text}, variant should be in format of ${{TUNING_NODE.VARIANT}}"
        )
    return node, variant
