"""flow.dag.yaml -> `Flow`: one parse, which reports every error of the file at once.

Unknown keys are warnings, as they always were; what cannot run is an error with line, column and a hint.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from promptflow.contracts.condition import Condition, parse_condition
from promptflow.contracts.flow import (
    Activate,
    Flow,
    FlowInput,
    FlowOutput,
    ForEach,
    Node,
    NodeVariants,
    Problem,
    Retry,
    ToolSource,
    parse_value,
)
from promptflow.contracts.graph import check_graph
from promptflow.contracts.reference import Reference, is_reference
from promptflow.contracts.tool import ToolType, ValueType
from promptflow.exceptions import (
    DuplicateNodeName,
    ExpressionError,
    FlowDefinitionError,
    FlowFileError,
    NotSupported,
    ValidationException,
)
from promptflow.workspace.yamlfile import load_yaml

FLOW_KEYS = (
    "$schema id name display_name description tags type language inputs outputs nodes node_variants environment "
    "environment_variables additional_includes message_format properties path code entry tools is_promptflow "
    "sample init"
).split()
NODE_KEYS = (
    "name type source inputs connection api provider module use_variants aggregation reduce enable_cache activate "
    "comment tool timeout retry foreach isolation description icon deployment_name skip"
).split()
ISOLATIONS = ("process", "none")
SOURCE_TYPES = ("code", "package", "package_with_prompt", "flow")
Marks = Any
At = Callable[..., tuple[int, int]]


def load_flow_file(file: Path) -> Flow:
    """Read and check a flow.dag.yaml. Raises a ValidationException that lists every problem of the file."""
    data, marks = load_yaml(file)
    return parse_flow(data, file, marks)


def parse_flow(data: Any, file: Path, marks: Marks = None) -> Flow:
    """Check ``data`` and make the Flow. ``marks.at(*keys)`` tells line and column, where it is known."""
    reader = _Reader(data, marks)
    flow = reader.flow(file)
    problems = list(reader.problems)
    if flow is not None and not reader.left_out:
        problems += check_graph(flow, reader.at)
    if problems:
        raise_problems(problems, file)
    assert flow is not None
    return replace(flow, warnings=tuple(reader.warnings))


def raise_problems(problems: list[Problem], file: Path) -> NoReturn:
    """Raise one error for all problems. Its class is that of the first, so that callers can catch what they know."""
    first = problems[0]
    error_class: Any = first.error_class or FlowFileError
    message = first.message
    if len(problems) > 1:
        rest = "".join(f"\n  {file.name}:{p.line}:{p.column} {p.message}" for p in problems[1:])
        message = f"{first.message}\nand {len(problems) - 1} more:{rest}"
    location = f"{file}:{first.line}:{first.column}" if first.line else str(file)
    error = error_class(message, location=f"{location} {first.where}".rstrip(), hint=first.hint)
    error.problems = tuple(problems)
    raise error


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean …?`` for a misspelt word, or nothing."""
    match = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.7)
    return f"did you mean {match[0]}?" if match else ""


class _Reader:
    """Walks the YAML once and collects problems instead of stopping at the first."""

    def __init__(self, data: Any, marks: Marks) -> None:
        self.data = data
        self.marks = marks
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.left_out = False  # a node or variant could not be read: references to it are no further mistakes

    def at(self, *keys: str | int) -> tuple[int, int]:
        return self.marks.at(*keys) if self.marks is not None else (0, 0)

    def problem(self, message: str, *keys: str | int, hint: str = "", cls: type[Exception] | None = None) -> None:
        self.problems.append(self._finding(message, keys, hint, cls))

    def _finding(self, message: str, keys: tuple[str | int, ...], hint: str, cls: type[Exception] | None) -> Problem:
        line, column = self.at(*keys)
        where = "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in keys).lstrip(".")
        return Problem(message, line, column, hint, where, cls)

    def mapping(self, value: Any, what: str, *keys: str | int) -> dict[str, Any]:
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self.problem(f"{what} must be a mapping, found {type(value).__name__}.", *keys)
        return {}

    def unknown_keys(self, data: dict[str, Any], known: Iterable[str], *keys: str | int) -> None:
        for key in data:
            if key not in known:
                hint = nearest(key, known)
                self.warnings.append(self._finding(f"Unknown key {key!r} is ignored.", (*keys, key), hint, None))

    def flow(self, file: Path) -> Flow | None:
        data = self.data
        if not isinstance(data, dict):
            found = "an empty file" if data is None else type(data).__name__
            self.problem(f"A flow must be a mapping with 'nodes', found {found}.", hint="see docs/flow-yaml.md")
            return None
        if str(data.get("language") or "python").lower() != "python":
            language = data["language"]
            self.problem(f"Flows in {language} are not supported: only python flows run.", "language", cls=NotSupported)
            return None
        self.unknown_keys(data, FLOW_KEYS)
        inputs = self.inputs(self.mapping(data.get("inputs"), "'inputs'", "inputs"))
        variants = self.variants(self.mapping(data.get("node_variants"), "'node_variants'", "node_variants"))
        nodes = self.nodes(data.get("nodes"), variants)
        outputs = self.outputs(self.mapping(data.get("outputs"), "'outputs'", "outputs"))
        includes = data.get("additional_includes") or []
        if not isinstance(includes, list):
            self.problem("'additional_includes' must be a list of paths.", "additional_includes")
            includes = []
        message_format = str(data.get("message_format") or "basic").lower()
        if message_format not in ("basic", "openai-vision"):
            self.problem(
                f"Invalid message format '{message_format}'.", "message_format", hint="use basic or openai-vision"
            )
        return Flow(
            name=str(data.get("name") or file.parent.resolve().name),
            folder=file.parent.resolve(),
            file=file,
            inputs=inputs,
            outputs=outputs,
            nodes=nodes,
            node_variants=variants,
            environment_variables=self.mapping(
                data.get("environment_variables"), "'environment_variables'", "environment_variables"
            ),
            additional_includes=tuple(str(i) for i in includes),
            message_format=message_format,
            type=str(data.get("type") or "standard"),
            id=str(data.get("id") or "default_flow_id"),
            display_name=data.get("display_name"),
            description=data.get("description"),
            tags={str(k): str(v) for k, v in self.mapping(data.get("tags"), "'tags'", "tags").items()},
            environment=self.mapping(data.get("environment"), "'environment'", "environment"),
        )

    def value_type(self, value: Any, *keys: str | int) -> ValueType | str:
        if value is None:
            self.problem(f"{keys[0]}.{keys[1]} has no type.", *keys, hint="add for example type: string")
            return ValueType.OBJECT
        try:
            return ValueType(value)
        except ValueError:
            if str(value).endswith(("Connection", "Configuration")):
                return str(value)
            known = [t.value for t in ValueType]
            hint = nearest(value, known) or f"types: {', '.join(known)}"
            self.problem(f"{keys[0]}.{keys[1]} has the unknown type {value!r}.", *keys, "type", hint=hint)
            return ValueType.OBJECT

    def inputs(self, data: dict[str, Any]) -> dict[str, FlowInput]:
        inputs = {}
        for name, item in data.items():
            item = self.mapping(item, f"inputs.{name}", "inputs", name)
            inputs[name] = FlowInput(
                name=name,
                type=self.value_type(item.get("type"), "inputs", name),
                default=item.get("default"),
                has_default=item.get("default") is not None,
                description=str(item.get("description") or ""),
                enum=tuple(item.get("enum") or ()),
                is_chat_input=bool(item.get("is_chat_input", False)),
                is_chat_history=item.get("is_chat_history"),
            )
        return inputs

    def outputs(self, data: dict[str, Any]) -> dict[str, FlowOutput]:
        outputs = {}
        for name, item in data.items():
            item = self.mapping(item, f"outputs.{name}", "outputs", name)
            value = parse_value(item.get("reference", ""))
            outputs[name] = FlowOutput(
                name=name,
                type=self.value_type(item.get("type", "string"), "outputs", name),
                reference=value if isinstance(value, Reference) else None,
                literal=None if isinstance(value, Reference) else value,
                description=str(item.get("description") or ""),
                evaluation_only=bool(item.get("evaluation_only", False)),
                is_chat_output=bool(item.get("is_chat_output", False)),
            )
        return outputs

    def variants(self, data: dict[str, Any]) -> dict[str, NodeVariants]:
        result = {}
        for name, item in data.items():
            keys: tuple[str | int, ...] = ("node_variants", name)
            item = self.mapping(item, f"node_variants.{name}", *keys)
            found: dict[str, Node] = {}
            for variant_id, variant in self.mapping(item.get("variants"), "variants", *keys, "variants").items():
                below = (*keys, "variants", variant_id)
                node = self.mapping(variant, f"variant {variant_id}", *below).get("node")
                if not isinstance(node, dict):
                    self.problem(f"Variant {variant_id} of node {name} has no 'node'.", *below)
                    continue
                parsed = self.node({**node, "name": name}, *below, "node")
                if parsed is not None:
                    found[str(variant_id)] = parsed
            default = str(item.get("default_variant_id") or "")
            if found and default not in found:
                self.problem(
                    f"Node {name}: default_variant_id {default!r} is not one of its variants.",
                    *keys,
                    hint=f"variants: {', '.join(found)}",
                )
            result[str(name)] = NodeVariants(default, found)
        return result

    def nodes(self, data: Any, variants: dict[str, NodeVariants]) -> tuple[Node, ...]:
        if data is None and "nodes" not in self.data:
            self.problem("The flow has no 'nodes'.", hint="see docs/flow-yaml.md")
            return ()
        if not isinstance(data or [], list):
            self.problem("'nodes' must be a list.", "nodes")
            return ()
        nodes: list[Node] = []
        seen: dict[str, int] = {}
        for index, item in enumerate(data or []):
            if not isinstance(item, dict):
                self.problem(f"A node must be a mapping, found {type(item).__name__}.", "nodes", index)
                self.left_out = True
                continue
            node = self._choose(item, variants, index)
            if node is None:
                self.left_out = True
                continue
            if node.name in seen:
                self.problem(
                    f"Invalid node definitions found in the flow graph. Node with name '{node.name}' appears more than "
                    "once.",
                    "nodes",
                    index,
                    "name",
                    hint="give each node a name of its own",
                    cls=DuplicateNodeName,
                )
            seen[node.name] = index
            nodes.append(node)
        return tuple(nodes)

    def _choose(self, item: dict[str, Any], variants: dict[str, NodeVariants], index: int) -> Node | None:
        """The node itself, or its default variant where it uses variants."""
        name = item.get("name")
        choices = variants.get(str(name))
        if item.get("use_variants") and choices is not None and choices.default_variant_id in choices.variants:
            return choices.variants[choices.default_variant_id]
        if item.get("use_variants") and choices is None and "source" not in item:
            self.problem(
                f"Node {name!r} uses variants, but node_variants has none for it.", "nodes", index, "use_variants"
            )
            return None
        return self.node(item, "nodes", index)

    def node(self, item: dict[str, Any], *keys: str | int) -> Node | None:
        name = item.get("name")
        if not name or not isinstance(name, str):
            self.problem("A node has no name.", *keys, hint="add name: …")
            return None
        self.unknown_keys(item, NODE_KEYS, *keys)
        source = self.source(item.get("source"), name, *keys)
        inputs = self.mapping(item.get("inputs"), f"inputs of node {name}", *keys, "inputs")
        connection = item.get("connection")
        return Node(
            name=name,
            type=self.tool_type(item, source, name, *keys),
            source=source,
            inputs={str(k): parse_value(v) for k, v in inputs.items()},
            connection=None if connection in (None, "") else str(connection),
            api=item.get("api"),
            provider=item.get("provider"),
            module=item.get("module"),
            aggregation=bool(item.get("aggregation", False) or item.get("reduce", False)),
            enable_cache=None if item.get("enable_cache") is None else bool(item["enable_cache"]),
            use_variants=bool(item.get("use_variants", False)),
            activate=self.activate(item["activate"], name, *keys) if item.get("activate") is not None else None,
            comment=str(item.get("comment") or ""),
            timeout=self.positive(item.get("timeout"), f"timeout of node {name}", *keys, "timeout"),
            retry=self.retry(item.get("retry"), name, *keys, "retry"),
            foreach=self.foreach(item.get("foreach"), name, *keys, "foreach"),
            isolation=self.isolation(item, name, *keys),
            line=self.at(*keys)[0],
        )

    def tool_type(
        self, item: dict[str, Any], source: ToolSource | None, name: str, *keys: str | int
    ) -> ToolType | None:
        if source is not None and source.type == "flow":
            return ToolType.FLOW
        value = item.get("type")
        try:
            return ToolType(str(value))
        except ValueError:
            known = ["python", "prompt", "llm", "custom_llm"]
            what = "has no type" if value is None else f"has the unknown type {value!r}"
            self.problem(
                f"Node '{name}' {what}.", *keys, hint=nearest(str(value), known) or f"types: {', '.join(known)}"
            )
            return None

    def source(self, data: Any, name: str, *keys: str | int) -> ToolSource | None:
        if data is None:
            self.problem(f"Node {name} does not have source defined.", *keys, hint="add source: {type: code, path: …}")
            return None
        if not isinstance(data, dict):
            self.problem(f"source of node {name} must be a mapping.", *keys, "source")
            return None
        kind = str(data.get("type") or "code")
        if kind not in SOURCE_TYPES:
            hint = nearest(kind, SOURCE_TYPES) or f"types: {', '.join(SOURCE_TYPES)}"
            self.problem(f"Node '{name}' has the unknown source type {kind!r}.", *keys, "source", "type", hint=hint)
        return ToolSource(kind, data.get("path"), data.get("tool"))

    def activate(self, data: Any, name: str, *keys: str | int) -> Activate | None:
        where = (*keys, "activate")
        if not isinstance(data, dict) or "when" not in data:
            self.problem(
                f"The definition of activate config for node {name} is incorrect: it needs 'when'.",
                *where,
                hint="write activate: {when: ${a.output}, is: true}",
                cls=FlowDefinitionError,
            )
            return None
        when = data["when"]
        if is_reference(when) and when.count("${") == 1:
            if "is" not in data:
                self.problem(
                    f"The definition of activate config for node {name} is incorrect: 'is' is missing.",
                    *where,
                    hint="add is: <value>",
                    cls=FlowDefinitionError,
                )
            return Activate(parse_value(when), data.get("is"))
        if isinstance(when, str) and "${" in when:
            condition = self.condition(when, *where, "when")
            return None if condition is None else Activate(None, data.get("is", True), condition)
        return Activate(when, data.get("is"))

    def condition(self, text: str, *keys: str | int) -> Condition | None:
        try:
            return parse_condition(text)
        except ExpressionError as error:
            self.problem(str(error), *keys, hint=error.hint, cls=ExpressionError)
            return None

    def positive(self, value: Any, what: str, *keys: str | int) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            self.problem(f"{what} must be a number of seconds above 0, found {value!r}.", *keys)
            return None
        return float(value)

    def retry(self, data: Any, name: str, *keys: str | int) -> Retry | None:
        if data is None:
            return None
        data = {"max_retries": data} if isinstance(data, int) else data
        try:
            retry = Retry(int(data["max_retries"]), float(data.get("delay", 1.0)), float(data.get("backoff", 2.0)))
            if retry.max_retries < 0 or retry.delay < 0 or retry.backoff < 1:
                raise ValueError("out of range")
            return retry
        except (TypeError, KeyError, ValueError, AttributeError):
            self.problem(
                f"retry of node {name} is not valid.", *keys, hint="write retry: {max_retries: 3, delay: 1, backoff: 2}"
            )
            return None

    def isolation(self, item: dict[str, Any], name: str, *keys: str | int) -> str | None:
        value = item.get("isolation")
        if value is None:
            return None
        if value not in ISOLATIONS:
            hint = nearest(str(value), ISOLATIONS) or f"one of {', '.join(ISOLATIONS)}"
            self.problem(f"Node '{name}' has the unknown isolation {value!r}.", *keys, "isolation", hint=hint)
        elif value == "process" and item.get("type") not in ("python", "custom_llm"):
            self.problem(f"Node '{name}' cannot be isolated: only nodes of Python can.", *keys, "isolation")
        return str(value)

    def foreach(self, data: Any, name: str, *keys: str | int) -> ForEach | None:
        if data is None:
            return None
        data = data if isinstance(data, dict) else {"over": data}
        over = parse_value(data.get("over"))
        item, concurrency = data.get("as", "item"), data.get("concurrency", 8)
        if not isinstance(over, Reference | list):
            self.problem(
                f"foreach of node {name} needs a list or a reference to one.", *keys, hint="foreach: ${inputs.items}"
            )
            return None
        if not isinstance(item, str) or not item.isidentifier() or not isinstance(concurrency, int) or concurrency < 1:
            self.problem(f"foreach of node {name}: 'as' must be a name and 'concurrency' a number above 0.", *keys)
            return None
        return ForEach(over, item, concurrency)


__all__ = ["FLOW_KEYS", "NODE_KEYS", "ValidationException", "load_flow_file", "nearest", "parse_flow", "raise_problems"]
