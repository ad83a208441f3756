"""Nodes -> steps: each node with its tool loaded, its connections found and its literals converted, ready to run."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from promptflow.connections.custom import CustomConnection, CustomStrongTypeConnection
from promptflow.connections.models import _Connection as Connection
from promptflow.contracts.flow import Flow, Node
from promptflow.contracts.graph import order
from promptflow.contracts.reference import Reference
from promptflow.contracts.tool import InputDefinition, Tool, ToolType, ValueType
from promptflow.contracts.types import PromptTemplate
from promptflow.exceptions import (
    ConnectionNotFoundError,
    FailedToImportModule,
    InvalidCustomLLMTool,
    InvalidSource,
    NodeInputValidationError,
    PromptflowException,
    ResolveToolError,
    ToolLoadError,
    UserErrorException,
)
from promptflow.executor.assistant import load_assistant
from promptflow.executor.multimedia import create_image, load_images
from promptflow.tooling.decorator import INPUTS_TO_ESCAPE_PARAM_KEY, ToolProvider, original
from promptflow.tooling.meta import describe_tool, prompt_parameter
from promptflow.tooling.registry import package_tool
from promptflow.tooling.render import check_template, template_names
from promptflow.tooling.script import find_tool, load_script, script_path

if TYPE_CHECKING:
    from promptflow.executor.cached import StepCache

Connections = Callable[[str], Connection]
SubFlow = Callable[[Path], Any]

_LLM_RESERVED = {"prompt", "template"}
_IMAGE = re.compile(r"!\[\s*image\s*\]\(\{\{\s*([^{}]+?)\s*\}\}\)")


@dataclass(slots=True)
class Step:
    """One node, ready to run: ``call(**literals, **referenced)``.

    ``defaults`` are parameters with a default: an input from a bypassed node is left out for those, None for others.
    ``stream_parameter`` asks the tool to stream where the caller wants a stream. ``is_isolated``: its tool is to run in
    a process of its own.

    For the node cache: ``request`` gives the ``(model, body)`` of an LLM node's request from its arguments,
    ``connection`` is where that goes; ``init`` are the arguments that a tool's class was made with; ``pure`` is what
    the tool says of itself; ``flow`` is the executor of a flow that is a node; ``cache`` is there while it is in use.
    """

    node: Node
    name: str
    call: Callable[..., Any]
    is_async: bool
    span_kind: str
    function: str | None = None
    literals: dict[str, Any] = field(default_factory=dict)
    references: tuple[tuple[str, Reference], ...] = ()
    defaults: frozenset[str] = frozenset()
    depends: frozenset[str] = frozenset()
    stream_parameter: str | None = None
    module: str | None = None
    is_isolated: bool = False
    request: Callable[..., tuple[str, dict[str, Any]]] | None = None
    connection: Connection | None = None
    init: dict[str, Any] = field(default_factory=dict)
    pure: bool | None = None
    flow: Any = None
    cache: StepCache | None = None


def make_steps(flow: Flow, connections: Connections, sub_flow: SubFlow) -> list[Step]:
    """The steps of a flow in execution order. Raises a user error naming the node that cannot be loaded."""
    _import_modules(flow)
    loader = _Loader(flow, connections, sub_flow)
    return [loader.step(node) for node in order(flow.nodes)]


def make_step(flow: Flow, node: Node, connections: Connections, sub_flow: SubFlow) -> Step:
    """The step of one node alone."""
    return _Loader(flow, connections, sub_flow).step(node)


def _import_modules(flow: Flow) -> None:
    """``module`` of a node is imported before the flow runs; ours are known without importing them."""
    for node in flow.nodes:
        if not node.module:
            continue
        try:
            if node.module.startswith("promptflow.tools."):
                if importlib.util.find_spec(node.module) is None:
                    raise ModuleNotFoundError(f"No module named {node.module!r}")
            else:
                importlib.import_module(node.module)
        except Exception as error:
            raise FailedToImportModule(
                f"Failed to import modules with error: Import node '{node.name}' provider module '{node.module}' "
                f"failed. Root cause: {error!r}.",
                location=_at(flow, node),
                hint="remove the node's module: key, or install the package",
            ) from error


def _at(flow: Flow, node: Node) -> str:
    return f"{flow.file}:{node.line}" if node.line else str(flow.file)


class _Loader:
    """Loads the tools of one flow; a script is executed once however many nodes use it."""

    def __init__(self, flow: Flow, connections: Connections, sub_flow: SubFlow) -> None:
        self.flow = flow
        self.connections = connections
        self.sub_flow = sub_flow
        self.scripts: dict[Path, ModuleType] = {}

    def step(self, node: Node) -> Step:
        try:
            return self._make(node)
        except (InvalidSource, ConnectionNotFoundError, ToolLoadError, NodeInputValidationError) as error:
            error.location = error.location or _at(self.flow, node)
            raise
        except PromptflowException as error:
            if isinstance(error, UserErrorException) and not isinstance(error, ResolveToolError):
                error.location = error.location or _at(self.flow, node)
                raise
            raise ResolveToolError(node_name=node.name, error=error, location=_at(self.flow, node)) from error
        except Exception as error:
            raise ResolveToolError(node_name=node.name, error=error, location=_at(self.flow, node)) from error

    def _make(self, node: Node) -> Step:
        source = node.source
        if source is None:
            raise UserErrorException(f"Node {node.name} does not have source defined.")
        if source.type == "flow":
            return self._flow(node)
        if node.type is ToolType.PROMPT:
            return self._prompt(node)
        if node.type is ToolType.LLM:
            return self._llm(node)
        if node.type is ToolType.CUSTOM_LLM:
            return self._package(node, with_prompt=True)
        if node.type is ToolType.PYTHON:
            return self._package(node) if source.type.startswith("package") else self._script(node)
        kind = node.type.value if node.type else None
        raise UserErrorException(f"Tool type {kind} of node '{node.name}' is not supported.")

    # -- kinds of nodes -------------------------------------------------------------------------------------------
    def _script(self, node: Node) -> Step:
        assert node.source is not None
        path = script_path(self.flow.folder, node.source.path, node.name)
        module = self.scripts.get(path)
        if module is None:
            module = self.scripts[path] = load_script(path)
        function, provider = find_tool(module, path)
        tool = describe_tool(function, provider.get_initialize_inputs() if provider else None)
        return self._tool(node, tool, function, provider, module)

    def _package(self, node: Node, with_prompt: bool = False) -> Step:
        assert node.source is not None
        found = package_tool(node.source.tool or "")
        loaded = found.load()
        provider = _provider_of(found.tool, loaded)
        step = self._tool(node, found.tool, loaded, provider, None)
        if with_prompt:
            template = self._template(node)
            parameter = prompt_parameter(loaded)
            if parameter is None:
                raise InvalidCustomLLMTool(
                    f"Invalid Custom LLM tool {found.tool.name}: function {original(loaded).__name__} is missing a "
                    "prompt template argument."
                )
            self._no_clash(node, template, set(found.tool.inputs))
            step.literals[parameter] = PromptTemplate(template)
            if INPUTS_TO_ESCAPE_PARAM_KEY in inspect.signature(original(loaded)).parameters or found.tool.enable_kwargs:
                step.literals[INPUTS_TO_ESCAPE_PARAM_KEY] = list(_flow_input_names(node))
            step.span_kind = "Function"
        return step

    def _tool(
        self, node: Node, tool: Tool, function: Any, provider: type[ToolProvider] | None, module: ModuleType | None
    ) -> Step:
        literals = self._literals(node, tool, module or tool.module)
        target = original(function)
        init: dict[str, Any] = {}
        if provider is not None:
            names = provider.get_initialize_inputs()
            init = {k: literals.pop(k) for k in list(literals) if k in names}
            late = [k for k, v in node.inputs.items() if k in names and isinstance(v, Reference)]
            if late:
                raise NodeInputValidationError(
                    f"Invalid input for '{tool.name}': Initialization input '{late[0]}' requires a literal value, but "
                    f"{node.inputs[late[0]].text} was received."
                )
            missing = [k for k in provider.get_required_initialize_inputs() if k not in init]
            if missing:
                raise NodeInputValidationError(f"Required inputs {missing} are not provided for tool '{tool.name}'.")
            target = original(function).__get__(provider(**init))
        parameters = inspect.signature(target).parameters
        return Step(
            node=node,
            name=node.name,
            call=target,
            is_async=inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target),
            span_kind=getattr(function, "__span_kind", None) or "Function",
            function=getattr(original(function), "__qualname__", None),
            literals=literals,
            references=_references(node),
            defaults=frozenset(k for k, p in parameters.items() if p.default is not inspect.Parameter.empty),
            depends=_depends(node),
            stream_parameter=getattr(function, "_streaming_option_parameter", None),
            module=getattr(target, "__module__", None),
            is_isolated=(node.isolation or _extra(function).get("isolation")) == "process",
            init=init,
            pure=_extra(function).get("pure"),
        )

    def _prompt(self, node: Node) -> Step:
        from promptflow.llm.prompt_node import render_prompt_node

        template = self._template(node)
        self._no_clash(node, template, _LLM_RESERVED)
        literals = self._template_literals(node, template)
        escape = _flow_input_names(node)

        def render(**values: Any) -> str:
            return cast(str, render_prompt_node(template, values, escape=escape))

        return Step(
            node, node.name, render, False, "Function", "render_template_jinja2", literals, _references(node),
            depends=_depends(node),
        )  # fmt: skip

    def _llm(self, node: Node) -> Step:
        from promptflow.llm.chat import parameter_names  # with the HTTP client: only flows that call models load it
        from promptflow.llm.endpoints import is_azure
        from promptflow.llm.node import llm_request, run_llm_node

        if not node.connection:
            raise ConnectionNotFoundError(
                f"Node '{node.name}' has no connection.", hint="add connection: <name>; pf connection list shows them"
            )
        connection = self._connection(node.connection, node)
        template = self._template(node)
        api = node.api or "chat"
        self._no_clash(node, template, {"prompt", *parameter_names(is_azure(connection), api)})
        literals = self._template_literals(node, template)
        escape = _flow_input_names(node)

        def prompt_of(inputs: dict[str, Any]) -> str:
            # an input called prompt takes the template's place; one that a prompt node rendered knows what to escape
            given = inputs.pop("prompt", None)
            return template if given is None else getattr(given, "escaped_string", "") or str(given)

        async def call(**inputs: Any) -> Any:
            prompt = prompt_of(inputs)
            return await run_llm_node(connection, api=api, template=prompt, inputs=inputs, escape=escape)

        def request(**inputs: Any) -> tuple[str, dict[str, Any]]:
            return llm_request(connection, api, prompt_of(inputs), inputs, escape=escape)

        function = f"{type(connection).__name__.removesuffix('Connection')}.{api}"
        return Step(
            node, node.name, call, True, "Function", function, literals, _references(node), depends=_depends(node),
            stream_parameter="stream", request=request, connection=connection,
        )  # fmt: skip

    def _flow(self, node: Node) -> Step:
        assert node.source is not None
        if not node.source.path:
            raise InvalidSource(f"Node '{node.name}' has a flow source without a path.", hint="add source.path")
        executor = self.sub_flow(self.flow.folder / node.source.path)
        unknown = sorted(node.inputs.keys() - executor.flow.inputs.keys())
        if unknown:
            raise NodeInputValidationError(
                f"Node '{node.name}' gives {unknown} to flow {executor.flow.name}, which has no such inputs.",
                hint=f"its inputs: {', '.join(executor.flow.inputs) or 'none'}",
            )

        def run(**inputs: Any) -> Any:
            return _sub_output(executor.run_line(inputs))

        async def run_async(**inputs: Any) -> Any:
            return _sub_output(await executor.run_line_async(inputs))

        call: Callable[..., Any] = run_async if executor.prefers_async else run
        literals = {k: v for k, v in node.inputs.items() if not isinstance(v, Reference)}
        return Step(
            node, node.name, call, executor.prefers_async, "Flow", executor.flow.name, literals, _references(node),
            defaults=frozenset(k for k, i in executor.flow.inputs.items() if i.has_default), depends=_depends(node),
            flow=executor,
        )  # fmt: skip

    # -- their parts ------------------------------------------------------------------------------------------------
    def _template(self, node: Node) -> str:
        path = node.source.path if node.source else None
        file = self.flow.folder / path if path else None
        if file is None or not file.is_file():
            raise InvalidSource(
                f"Node source path '{path}' is invalid on node '{node.name}'.", location=_at(self.flow, node)
            )
        try:
            template = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InvalidSource(
                f"The template of node '{node.name}' is not UTF-8: {error}.", location=str(file)
            ) from error
        check_template(template, str(file))
        return template

    def _no_clash(self, node: Node, template: str, reserved: set[str]) -> None:
        clash = set(template_names(template)) & reserved
        if clash:
            raise NodeInputValidationError(
                f"Invalid inputs {sorted(clash)} in prompt template of node {node.name}. These inputs are duplicated "
                "with the reserved parameters of the tool.",
                hint="rename them in the template",
            )

    def _template_literals(self, node: Node, template: str) -> dict[str, Any]:
        literals = {k: v for k, v in node.inputs.items() if not isinstance(v, Reference)}
        for name in _image_names(template):
            if name in literals:
                literals[name] = self._image(name, literals[name])
        return literals

    def _literals(self, node: Node, tool: Tool, module: ModuleType | str | None) -> dict[str, Any]:
        """Literal inputs as the tool's types. Empty ones are left out, so that the function's default counts."""
        values: dict[str, Any] = {}
        for name, value in node.inputs.items():
            if isinstance(value, Reference) or value is None or value == "":
                continue
            definition = tool.inputs.get(name)
            values[name] = value if definition is None else self._convert(node, name, value, definition, module)
        return values

    def _convert(
        self, node: Node, name: str, value: Any, definition: InputDefinition, module: ModuleType | str | None
    ) -> Any:
        kind = definition.type[0]
        if not isinstance(kind, ValueType):
            return self._connection_input(node, name, value, definition, module)
        if kind is ValueType.IMAGE:
            return self._image(name, value)
        if kind is ValueType.ASSISTANT_DEFINITION:
            return load_assistant(self.flow.folder, value, name, node.name)
        try:
            converted = kind.parse(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise NodeInputValidationError(
                f"Input '{name}' for node '{node.name}' of value '{value}' is not type {kind.value}."
            ) from error
        return load_images(converted, self.flow.folder, self.flow.message_format)

    def _image(self, name: str, value: Any) -> Any:
        try:
            return create_image(value, self.flow.folder, self.flow.message_format)
        except (UserErrorException, OSError) as error:
            raise NodeInputValidationError(
                f"Failed to load image for input '{name}': ({type(error).__name__}) {error}"
            ) from error

    def _connection_input(
        self, node: Node, name: str, value: Any, definition: InputDefinition, module: ModuleType | str | None
    ) -> Any:
        connection = self._connection(value, node)
        if definition.custom_type and isinstance(connection, CustomStrongTypeConnection):
            return connection
        if definition.custom_type and isinstance(connection, CustomConnection):
            return connection._convert_to_custom_strong_type(module=module, to_class=definition.custom_type[0])
        if type(connection).__name__ not in definition.type:
            raise NodeInputValidationError(
                f"Input '{name}' for node '{node.name}' of type {type(connection).__name__!r} is not supported, valid "
                f"types {list(definition.type)}."
            )
        return connection

    def _connection(self, value: Any, node: Node) -> Connection:
        if isinstance(value, Connection):
            return value
        try:
            return self.connections(str(value))
        except ConnectionNotFoundError as error:
            error.location = error.location or f"{_at(self.flow, node)} node {node.name}"
            raise


def _references(node: Node) -> tuple[tuple[str, Reference], ...]:
    return tuple((k, v) for k, v in node.inputs.items() if isinstance(v, Reference))


def _depends(node: Node) -> frozenset[str]:
    return frozenset(r.node for r in node.references if r.node is not None)


def _flow_input_names(node: Node) -> tuple[str, ...]:
    """Inputs that come from the flow's caller: role words in them must not become chat roles."""
    return tuple(k for k, v in node.inputs.items() if isinstance(v, Reference) and v.is_input)


def _image_names(template: str) -> list[str]:
    return _IMAGE.findall(template)


def _extra(function: Any) -> dict[str, Any]:
    """What ``@tool`` was told besides what it knows."""
    return getattr(function, "__extra_info", None) or {}


def _provider_of(tool: Tool, loaded: Any) -> type[ToolProvider] | None:
    """The provider class of a package tool that is a method."""
    if not tool.class_name:
        return None
    module = importlib.import_module(original(loaded).__module__)
    provider = getattr(module, tool.class_name, None)
    return provider if isinstance(provider, type) and issubclass(provider, ToolProvider) else None


def _sub_output(result: Any) -> Any:
    if result.exception is not None:
        raise result.exception
    return result.output
