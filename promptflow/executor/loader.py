"""A folder, a file, an entry or a callable -> an executor that is ready to run lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from promptflow.connections.models import _Connection as Connection
from promptflow.connections.provider import get_connection
from promptflow.contracts.flex import FlexFlow, load_flex_file
from promptflow.contracts.flow import DAG_FILES, FLEX_FILES, Flow, as_text
from promptflow.contracts.flow_yaml import load_flow_file
from promptflow.contracts.run import AggregationResult, LineResult
from promptflow.exceptions import ConnectionNotFoundError, InvalidFlowError, UserErrorException, ValidationException
from promptflow.executor.activation import activated
from promptflow.executor.entry import describe_entry, import_entry
from promptflow.executor.flex import FlexExecutor
from promptflow.executor.flow import NODE_CONCURRENCY, DagExecutor
from promptflow.executor.includes import merged_folder
from promptflow.executor.line import FIRST_ATTEMPT, Attempt
from promptflow.executor.origin import Origin, Recorded, source_of
from promptflow.executor.overrides import node_overrides
from promptflow.tracing.injectors import inject
from promptflow.workspace import Workspace
from promptflow.workspace.yamlfile import load_yaml

MAX_NESTING = 16


class Executor(Protocol):
    """What every kind of flow can do once it is loaded."""

    flow: Any
    prefers_async: bool
    environment: dict[str, str]
    origin: Origin | None  # None: no other process can load it

    @property
    def has_aggregation(self) -> bool: ...
    def activated(self) -> Any: ...
    def apply_inputs(self, row: Mapping[str, Any], index: int | None = None) -> dict[str, Any]: ...
    def run_line(
        self,
        inputs: Mapping[str, Any],
        *,
        index: int | None = None,
        run_id: str | None = None,
        streaming: bool = False,
        node_concurrency: int | None = None,
        attempt: Attempt = FIRST_ATTEMPT,
    ) -> LineResult: ...
    async def run_line_async(
        self,
        inputs: Mapping[str, Any],
        *,
        index: int | None = None,
        run_id: str | None = None,
        streaming: bool = False,
        node_concurrency: int | None = None,
        attempt: Attempt = FIRST_ATTEMPT,
    ) -> LineResult: ...
    def run_aggregation(
        self, inputs: Mapping[str, Any], aggregation_inputs: Mapping[str, Any], run_id: str | None = None
    ) -> AggregationResult: ...


def find_flow_file(source: Path | str) -> Path:
    """The flow file of a folder, or the file itself. Raises a user error that says what was looked for."""
    path = Path(source)
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserErrorException(
            f"Flow {source} does not exist.", hint="give a flow folder, a YAML file or a .prompty file"
        )
    found = [path / name for name in (*DAG_FILES, *FLEX_FILES) if (path / name).is_file()]
    if not found:
        raise UserErrorException(f"Have found neither flow.dag.yaml nor flow.flex.yaml in {path.absolute()}")
    if len(found) > 1:
        names = ", ".join(f.name for f in found)
        raise ValidationException(
            f"Multiple files {names} exist in {source}. Please specify a file or remove the extra YAML file."
        )
    return found[0]


def load_flow_definition(file: Path) -> Flow | FlexFlow:
    """Parse a flow file of either kind, without loading any of its code."""
    return load_flex_file(file) if is_flex_file(file) else load_flow_file(file)


def is_flex_file(file: Path) -> bool:
    """By its name, or because it has an entry and no nodes, whatever it is called."""
    if file.name in FLEX_FILES:
        return True
    data, _ = load_yaml(file)
    return isinstance(data, dict) and "entry" in data and "nodes" not in data


def load_executor(
    source: Any,
    *,
    variant: str | None = None,
    connections: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    init: Mapping[str, Any] | None = None,
    environment_variables: Mapping[str, Any] | None = None,
    code: Path | str | None = None,
    workspace: Workspace | None = None,
    provider: Callable[[str], Connection] | None = None,
    node_concurrency: int = NODE_CONCURRENCY,
    _stack: tuple[Path, ...] = (),
) -> Executor:
    """Load a flow folder, a flow YAML, a .prompty, ``module:name`` (found in ``code``) or a callable.

    ``connections`` overrides by node: ``{"ask": {"connection": name or object, "deployment_name": …, "model": …}}``;
    ``overrides`` overrides node inputs: ``{"nodes[ask].inputs.model": …}`` or ``{"ask.model": …}``.
    Raises a user error that says where the flow is wrong.
    """
    inject()  # calls that the flow's code makes with openai or LangChain become spans
    workspace = workspace or Workspace.open()
    lookup = Recorded(provider or (lambda name: get_connection(name, workspace)))
    known = source_of(source)
    folder = None if code is None else str(Path(code).resolve())
    given = Origin(known or "", folder, variant, connections, overrides, init, environment_variables)
    given = replace(given, home=str(workspace.home), database_url=workspace.database_url, found=lookup.found)
    executor = _load(source, given, workspace, lookup, node_concurrency, _stack)
    if known is not None:
        executor.origin = replace(given, merged=_merged_folder_of(executor.flow))
    return executor


def load_again(origin: Origin, workspace: Workspace | None = None) -> Executor:
    """Load what another process has loaded, with the connections that it found."""
    workspace = workspace or Workspace.open(origin.home, origin.database_url)

    def lookup(name: str) -> Connection:
        found = origin.found.get(name) if isinstance(name, str) else None
        return found if found is not None else get_connection(name, workspace)

    inject()
    executor = _load(origin.source, origin, workspace, Recorded(lookup), NODE_CONCURRENCY, ())
    executor.origin = origin
    return executor


def _load(
    source: Any,
    given: Origin,
    workspace: Workspace,
    lookup: Callable[[str], Connection],
    node_concurrency: int,
    stack: tuple[Path, ...],
) -> Executor:
    init, variables = given.init, given.environment_variables
    if callable(source) and not isinstance(source, str | Path):
        return _load_callable(source, given.code, init, variables, lookup)
    if isinstance(source, str) and _is_entry(source):
        return _load_entry(source, Path(given.code or "."), init, variables, lookup)
    file = find_flow_file(source)
    if file.suffix == ".prompty":
        from promptflow.executor.prompty import PromptyExecutor  # needs the model path

        environment = _texts(variables, lookup)
        return PromptyExecutor.load(file, workspace=workspace, connections=lookup, init=init, environment=environment)
    if is_flex_file(file):
        return _load_flex(file, given, lookup)
    file = file.resolve()
    if file in stack or len(stack) >= MAX_NESTING:
        names = " -> ".join(f.parent.name for f in (*stack, file))
        raise InvalidFlowError(f"A flow cannot be a node of itself: {names}.", location=str(file))
    flow = load_flow_file(file).with_variant(given.variant)
    flow = flow.with_overrides(_connection_overrides(flow, given.connections))
    flow = flow.with_overrides(node_overrides(flow, given.overrides))
    flow = _merged(flow, given.merged)
    environment = _texts(flow.environment_with(dict(variables or {})), lookup)

    def sub_flow(path: Path) -> Executor:
        return load_executor(
            path, workspace=workspace, provider=lookup, node_concurrency=node_concurrency, _stack=(*stack, file)
        )

    with activated(flow.folder, environment):
        return DagExecutor(flow, lookup, sub_flow, environment, node_concurrency=node_concurrency)


def _load_flex(file: Path, given: Origin, lookup: Callable[[str], Connection]) -> FlexExecutor:
    flow = _merged(load_flex_file(file), given.merged)
    environment = _texts({**flow.environment_variables, **(given.environment_variables or {})}, lookup)
    with activated(flow.folder, environment):
        entry = describe_entry(import_entry(flow.entry, flow.folder), flow.entry.partition(":")[2])
        return FlexExecutor(flow, entry, lookup, given.init, environment)


def _load_entry(
    entry: str, folder: Path, init: Any, environment_variables: Any, lookup: Callable[[str], Connection]
) -> FlexExecutor:
    folder = folder.resolve()
    flow = FlexFlow(entry.partition(":")[2], folder, folder / "flow.flex.yaml", entry)
    environment = _texts(environment_variables, lookup)
    with activated(folder, environment):
        described = describe_entry(import_entry(entry, folder))
        return FlexExecutor(flow, described, lookup, init, environment)


def _load_callable(
    function: Any, code: Any, init: Any, environment_variables: Any, lookup: Callable[[str], Connection]
) -> FlexExecutor:
    folder = Path(code or ".").resolve()
    name = getattr(function, "__name__", type(function).__name__)
    flow = FlexFlow(name, folder, folder / "flow.flex.yaml", f"{getattr(function, '__module__', '__main__')}:{name}")
    described = describe_entry(function)
    return FlexExecutor(flow, described, lookup, init, _texts(environment_variables, lookup))


def _is_entry(source: str) -> bool:
    head, colon, tail = source.partition(":")
    return (
        bool(colon)
        and tail.isidentifier()
        and all(p.isidentifier() for p in head.split("."))
        and not Path(source).exists()
    )


def _merged(flow: Any, folder: str | None) -> Any:
    if not flow.additional_includes:
        return flow
    return replace(flow, folder=Path(folder) if folder else merged_folder(flow.folder, flow.additional_includes))


def _merged_folder_of(flow: Any) -> str | None:
    return str(flow.folder) if getattr(flow, "additional_includes", None) else None


def _connection_overrides(flow: Flow, connections: Mapping[str, Any] | None) -> dict[str, Any]:
    overrides = {}
    for node_name, values in (connections or {}).items():
        if flow.node(node_name) is None:
            raise InvalidFlowError(
                f"Node {node_name} not found in flow", hint=f"nodes: {', '.join(n.name for n in flow.nodes)}"
            )
        if not isinstance(values, Mapping):
            raise InvalidFlowError(f"Connections of node {node_name} must be a mapping of input names to connections.")
        overrides.update({f"{node_name}.{key}": value for key, value in values.items() if value is not None})
    return overrides


def _texts(variables: Mapping[str, Any] | None, lookup: Callable[[str], Connection]) -> dict[str, str]:
    """Environment variables as texts; ``${connection.key}`` is looked up."""
    result = {}
    for name, value in (variables or {}).items():
        text = as_text(value)
        if text.startswith("${") and text.endswith("}") and "." in text and ":" not in text:
            text = _connection_value(text[2:-1], name, lookup)
        result[name] = text
    return result


def _connection_value(reference: str, variable: str, lookup: Callable[[str], Connection]) -> str:
    connection_name, _, key = reference.partition(".")
    connection = lookup(connection_name)
    try:
        return str(getattr(connection, key))
    except (AttributeError, KeyError) as error:
        raise ConnectionNotFoundError(
            f"Environment variable {variable} reads ${{{reference}}}, but connection {connection_name} has no {key}."
        ) from error


__all__ = ["Executor", "find_flow_file", "is_flex_file", "load_again", "load_executor", "load_flow_definition"]
