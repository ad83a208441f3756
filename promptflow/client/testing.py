"""Testing a flow, a variant or a node with one set of inputs."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

from promptflow.client.traced import traced_as
from promptflow.contracts.flow import Flow
from promptflow.contracts.flow_yaml import nearest
from promptflow.contracts.reference import Reference
from promptflow.contracts.run import LineResult
from promptflow.exceptions import PathNotFoundError, PromptflowException, UserErrorException
from promptflow.executor.loader import Executor, load_executor
from promptflow.executor.multimedia import has_image, persist_images
from promptflow.storage.encode import to_json
from promptflow.workspace import Workspace

OUTPUT_FOLDER = ".promptflow"
_logger = logging.getLogger(__name__)


def test_flow(
    workspace: Workspace,
    flow: Any,
    inputs: Mapping[str, Any] | None,
    *,
    variant: str | None = None,
    node: str | None = None,
    environment_variables: Mapping[str, Any] | None = None,
    init: Mapping[str, Any] | None = None,
    code: str | PathLike[str] | None = None,
    streaming: bool = True,
    output_path: str | PathLike[str] | None = None,
    cache: str | None = None,
) -> LineResult:
    """Run the flow once, or one node of it. Raises UserErrorException when it fails.

    ``streaming`` leaves the generators of a chat flow's outputs to the caller. What came of it is also kept in
    ``<flow>/.promptflow``, or in ``output_path``.
    """
    with traced_as(_name(flow)):
        executor = load_executor(
            flow,
            variant=variant,
            init=init,
            environment_variables=environment_variables,
            code=Path(code) if code else None,
            workspace=workspace,
        )
    definition = executor.flow
    with _caching(executor, cache, workspace), executor.activated(), traced_as(_name(flow)):
        if definition.kind != "dag":
            result = executor.run_line(dict(inputs or {}), streaming=streaming and definition.kind == "prompty")
        elif node:
            values, outputs = node_inputs(definition, node, inputs or {})
            result = executor.run_node(node, values, outputs)  # type: ignore[attr-defined]
        else:
            values = flow_inputs(definition, inputs or {})
            result = executor.run_line(values, streaming=streaming and is_chat(definition))
            _run_aggregation(executor, result)
        folder = Path(output_path) if output_path else _own_folder(definition) / OUTPUT_FOLDER
        if has_image(result.output):
            result.output = persist_images(result.output, folder / "output", definition.message_format, absolute=True)
    _keep(folder, f"flow-{node}.node" if node else _prefix(variant), result, node)
    if result.exception is not None:
        raise _failure(result.exception)
    return result


def _caching(executor: Executor, mode: str | None, workspace: Workspace) -> AbstractContextManager[None]:
    """The node cache, if asked for: a test is to see what the model says now."""
    if mode is None and not os.environ.get("PF_CACHE"):
        return nullcontext()
    from promptflow.batch.options import RunOptions  # few tests use the cache
    from promptflow.executor.caching import caching

    return caching(executor, RunOptions.of({"cache": mode}).cache, workspace)


test_flow.__test__ = False  # type: ignore[attr-defined]  # no test, whatever pytest thinks of its name


def _own_folder(definition: Any) -> Path:
    """Where the flow's file is: a flow with additional includes runs in a copy that is gone when the process ends."""
    merged = getattr(definition, "additional_includes", ())
    return Path(definition.file).parent if merged else Path(definition.folder)


def read_inputs(inputs: Any) -> dict[str, Any]:
    """Inputs given as a dictionary, or as a json or jsonl file, whose first row counts."""
    if inputs is None or isinstance(inputs, Mapping):
        return dict(inputs or {})
    file = Path(inputs)
    if file.suffix not in {".json", ".jsonl"}:
        raise UserErrorException("Only support jsonl or json file as input.")
    if not file.is_file():
        raise PathNotFoundError(f"Cannot find inputs file {inputs}.")
    if file.suffix == ".json":
        try:
            data = json.loads(file.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise UserErrorException(f"{file.name} is no valid JSON: {error}", location=str(file)) from error
        if isinstance(data, dict):
            return data
    from promptflow.batch.data import read_file  # most tests name their inputs

    row = next(read_file(file), None)
    if row is None:
        raise UserErrorException(f"{file.name} holds no inputs.", location=str(file))
    return row


def is_chat(flow: Flow) -> bool:
    """Whether a flow can be talked to: one chat input, one chat output (or no outputs), a chat history."""
    chat_inputs = [i for i in flow.inputs.values() if i.is_chat_input]
    chat_outputs = [o for o in flow.outputs.values() if o.is_chat_output]
    one_output = len(chat_outputs) == 1 or (not chat_outputs and not flow.outputs)
    return len(chat_inputs) == 1 and one_output and _history(flow) is not None


def _history(flow: Flow) -> str | None:
    marked = next((name for name, i in flow.inputs.items() if i.is_chat_history), None)
    if marked is None and "chat_history" in flow.inputs and flow.inputs["chat_history"].is_chat_history is not False:
        return "chat_history"
    return marked


def flow_inputs(flow: Flow, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs to test with: defaults filled in, an empty history for a chat flow. Unknown ones only warn."""
    values: dict[str, Any] = {}
    missing = []
    history = _history(flow)
    for name, definition in flow.inputs.items():
        if name in inputs:
            values[name] = inputs[name]
        elif definition.default is not None:
            values[name] = definition.default
        elif name == history:
            values[name] = []
        else:
            missing.append(name)
    if missing:
        near = [name for name in inputs if name not in flow.inputs and nearest(name, missing)]
        misspelt = f"; {near[0]}: {nearest(near[0], missing)}" if near else ""
        raise UserErrorException(
            f'Required input(s) {missing} are missing for "flow".',
            hint=f"given are: {', '.join(map(str, inputs)) or 'none'}{misspelt}",
        )
    unknown = {name: value for name, value in inputs.items() if name not in flow.inputs}
    if unknown:
        _logger.warning("Unknown input(s) of flow: %s", ", ".join(unknown))
    return {**values, **unknown}


def node_inputs(flow: Flow, name: str, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``(flow inputs, outputs of other nodes)`` for testing one node.

    A value is given under the input's name, or under what it references: ``inputs.url``, ``fetch.output``.
    """
    node = flow.node(name)
    if node is None:
        raise UserErrorException(
            f"Cannot find {name} in the flow.", hint=f"nodes: {', '.join(n.name for n in flow.nodes)}"
        )
    values: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    missing = []
    for key, value in node.inputs.items():
        if not isinstance(value, Reference):
            continue
        spelled = value.text[2:-1]
        given = next((k for k in (spelled, key) if k in inputs), None)
        if value.node is None:
            default = flow.inputs[value.name].default
            if given is None and default is None:
                missing.append(key)
            else:
                values[value.name] = inputs[given] if given is not None else default
        elif given is None:
            missing.append(key)
        else:
            outputs[value.node] = _nested(value.path, inputs[given], outputs.get(value.node))
    if missing:
        raise UserErrorException(f'Required input(s) {missing} are missing for "{name}".')
    return values, outputs


def _nested(path: tuple[str | int, ...], value: Any, before: Any) -> Any:
    """``value`` as the part of a node's output that ``path`` names, beside the parts given before."""
    for part in reversed(path):
        if isinstance(value, dict) and part in value and len(path) == 1:
            break  # the whole output was given
        value = {part: value} if isinstance(part, str) else [*[None] * part, value]
    return {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value


def _name(flow: Any) -> str:
    if callable(flow):
        return getattr(flow, "__name__", type(flow).__name__)
    path = Path(flow).resolve()
    return path.stem if path.suffix == ".prompty" else path.parent.name if path.suffix else path.name


def _run_aggregation(executor: Executor, result: LineResult) -> None:
    """The aggregation over the one line; its metrics and node records join the line's."""
    if not executor.has_aggregation or result.exception is not None:
        return
    inputs = {name: [value] for name, value in (result.run_info.inputs or {}).items()}
    references = {name: [value] for name, value in result.aggregation_inputs.items()}
    try:
        outcome = executor.run_aggregation(inputs, references)
    except PromptflowException as error:  # the outputs of the line stand
        _logger.warning("The aggregation failed: %s", error)
        return
    result.node_run_infos = {**result.node_run_infos, **outcome.node_run_infos}
    result.run_info.metrics = outcome.metrics


def _prefix(variant: str | None) -> str:
    return f"flow-{variant.strip('${}').replace('.', '-')}" if variant else "flow"


def _keep(folder: Path, prefix: str, result: LineResult, node: str | None) -> None:
    """Write flow.detail.json, flow.output.json and flow.log; a flow in a read-only folder goes without."""
    generators = isinstance(result.output, dict) and any(hasattr(v, "__next__") for v in result.output.values())
    nodes = list(result.node_run_infos.values())
    detail = {"flow_runs": [] if node else [result.run_info], "node_runs": nodes}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{prefix}.detail.json").write_bytes(to_json(detail))
        if not generators:
            (folder / f"{prefix}.output.json").write_bytes(to_json(result.output))
        log = "".join(f"{n.node}: {n.status.value} in {(n.system_metrics or {}).get('duration')} s\n" for n in nodes)
        error = f"{result.run_info.error.get('message')}\n" if result.run_info.error else ""
        (folder / (f"{node}.node.log" if node else "flow.log")).write_text(log + error, encoding="utf-8")
    except OSError as error:
        _logger.debug("Nothing kept in %s: %s", folder, error)


def _failure(error: BaseException) -> UserErrorException:
    """The error of a test, as it has always been raised: ``<type>: <message>``."""
    info = (getattr(error, "additional_info", None) or {}).values()
    kind = next((i["type"] for i in info if isinstance(i, dict) and i.get("type")), "Exception")
    failure = UserErrorException(
        f"{kind}: {error}",
        error=error,
        location=getattr(error, "location", ""),
        hint=getattr(error, "hint", ""),
    )
    failure.__cause__ = error
    return failure
