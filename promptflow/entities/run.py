"""`Run` as users hold it: what to run on which data, and what became of it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from promptflow.contracts.flow import parse_variant
from promptflow.entities.flow_files import flow_folder, flow_kind
from promptflow.exceptions import InvalidRunError, InvalidRunStatusError, UserErrorException
from promptflow.storage.folder import RunFolder
from promptflow.workspace.urls import absolute

NOT_STARTED, RUNNING, COMPLETED, FAILED, CANCELED = "NotStarted", "Running", "Completed", "Failed", "Canceled"
INTERRUPTED = "Interrupted"  # what is shown of a run whose process died
DEFAULT_VARIANT = "variant_0"
HIDDEN_METRICS = "__pf__"


class Run:
    """A batch run. Give it ``flow`` and ``data`` (or ``run``, another run whose outputs are read).

    ``column_mapping`` feeds flow inputs: ``{"question": "${data.q}", "answer": "${run.outputs.answer}"}``.
    """

    def __init__(
        self,
        flow: Path | str | None = None,
        name: str | None = None,
        data: Path | str | None = None,
        variant: str | None = None,
        run: Run | str | None = None,
        column_mapping: dict[str, Any] | None = None,
        display_name: str | None = None,
        description: str | None = None,
        tags: dict[str, str] | None = None,
        *,
        created_on: datetime | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        status: str | None = None,
        environment_variables: dict[str, str] | None = None,
        connections: dict[str, dict[str, Any]] | None = None,
        properties: Mapping[str, Any] | None = None,
        source: Path | str | None = None,
        init: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.flow = Path(str(flow)).resolve() if flow is not None else None
        self.type = kwargs.get("type", "batch")
        self.data = str(data) if data is not None else None
        self.variant = variant
        self.run = run
        self.column_mapping = column_mapping
        self.display_name = display_name
        self.description = description
        self.tags = tags
        self.environment_variables = environment_variables or {}
        self.connections = connections or {}
        self.source = source
        self._created_on = created_on or datetime.now().astimezone()
        self._start_time = start_time
        self._end_time = end_time
        self._status = status or NOT_STARTED
        self._is_archived: bool = kwargs.get("is_archived", False)
        self._resume_from: Run | str | None = kwargs.get("resume_from")
        self._dynamic_callable: Callable[..., Any] | None = kwargs.get("dynamic_callable")
        self._entry: str | None = kwargs.get("entry")  # "module:name" of a flow that is code; it lives in `flow`
        self._options: dict[str, Any] = dict(kwargs.get("options") or {})  # those given, see batch/options.py
        self._overrides: dict[str, Any] = dict(kwargs.get("overrides") or {})  # nodes[ask].inputs.model -> value
        self._replay: str | None = kwargs.get("replay")  # the tape that answers its calls
        self._sources: dict[str, Any] = dict(kwargs.get("sources") or {})  # fingerprints of the data it began with
        self._flow_name: str = kwargs.get("flow_name") or _flow_name(self.flow)
        self._kind: str = kwargs.get("kind") or (flow_kind(self.flow) if self.flow is not None else "dag")
        self._properties = dict(properties or {})
        if init:
            self._properties["init_kwargs"] = _check_init(init)
        self.name = name or self._make_name()
        self._output_path: Path | None = Path(kwargs["output_path"]) if kwargs.get("output_path") else None

    @property
    def created_on(self) -> str:
        return self._created_on.isoformat()

    @property
    def status(self) -> str:
        return self._status

    @property
    def init(self) -> dict[str, Any] | None:
        return self._properties.get("init_kwargs")

    @property
    def properties(self) -> dict[str, Any]:
        """Where the flow and the results are, what it ran on, and ``system_metrics``."""
        result: dict[str, Any] = {"flow_path": self.flow.as_posix() if self.flow is not None else None}
        result["output_path"] = self._output_path.as_posix() if self._output_path is not None else None
        if self.run:
            result["run"] = run_name(self.run)
        if self.variant:
            result["node_variant"] = self.variant
        if self._resume_from:
            result["resume_from"] = run_name(self._resume_from)
        if self.column_mapping:
            result["column_mapping"] = self.column_mapping
        return {**result, **self._properties}

    @property
    def folder(self) -> RunFolder:
        if self._output_path is None:
            raise InvalidRunError(f"Run {self.name!r} has not been submitted: it has no results yet.")
        return RunFolder(self._output_path)

    @property
    def duration(self) -> float | None:
        """Seconds from start to end; None while it runs."""
        if self._start_time is None or self._end_time is None:
            return None
        return (self._end_time - self._start_time).total_seconds()

    def formatted_display_name(self) -> str:
        """The display name with ``${variant_id}``, ``${run}`` and ``${timestamp}`` filled in."""
        text = self.display_name or self.name
        if self.run:
            text = text.replace("${run}", run_name(self.run))
        text = text.replace("${timestamp}", datetime.now().strftime("%Y%m%d%H%M"))
        return text.replace("${variant_id}", self._variant_id()) if self._kind == "dag" else text

    def check_completed(self) -> None:
        if self.status != COMPLETED:
            message = f"Run {self.name!r} is not completed, the status is {self.status!r}."
            if self.status != FAILED:
                message += " Please wait for its completion, or select other completed run(s)."
            raise InvalidRunStatusError(message)

    def copy(self, **changes: Any) -> Run:
        """A new run of the same things, not yet started."""
        fields: dict[str, Any] = dict(
            flow=self.flow,
            data=self.data,
            variant=self.variant,
            run=self.run,
            column_mapping=self.column_mapping,
            display_name=self.display_name,
            description=self.description,
            tags=self.tags,
            environment_variables=self.environment_variables,
            connections=self.connections,
            init=self.init,
            kind=self._kind,
            flow_name=self._flow_name,
            entry=self._entry,
            dynamic_callable=self._dynamic_callable,
            options=self._options,
            overrides=self._overrides,
            replay=self._replay,
        )
        if self.display_name == self.name:
            del fields["display_name"]
        return Run(**{**fields, **changes})

    def _to_dict(
        self,
        *,
        exclude_additional_info: bool = False,
        exclude_debug_info: bool = False,
        exclude_properties: bool = False,
    ) -> dict[str, Any]:
        properties = self.properties
        result: dict[str, Any] = {
            "name": self.name,
            "created_on": self.created_on,
            "status": self.status,
            "display_name": self.display_name,
            "description": self.description,
            "tags": self.tags,
            "properties": properties,
            "flow_name": self._flow_name,
            "data": absolute(self.data) if self.data else None,
            "output": self.folder.outputs_folder.as_posix() if self._output_path is not None else None,
        }
        if self.run:
            result["run"] = properties.pop("run", run_name(self.run))
        error = self.folder.error() if self._output_path is not None else {}
        if error:
            dropped = {"additionalInfo"} if exclude_additional_info else set()
            dropped |= {"debugInfo"} if exclude_debug_info else set()
            result["error"] = {key: value for key, value in error.items() if key not in dropped}
        metrics = properties.get("system_metrics")
        if isinstance(metrics, dict):
            shown = {key: value for key, value in metrics.items() if not key.startswith(HIDDEN_METRICS)}
            properties["system_metrics"] = shown
        if exclude_properties:
            del result["properties"]
        return result

    def _make_name(self) -> str:
        stamp = datetime.now().strftime("%Y%m%d_%H%M%S_%f")
        middle = f"_{self._variant_id()}" if self._kind == "dag" else ""
        return re.sub(r"[^\w]", "_", f"{self._flow_name}{middle}_{stamp}")

    def _variant_id(self) -> str:
        return parse_variant(self.variant)[1] if self.variant else DEFAULT_VARIANT

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.status}>"


def run_name(run: Run | str) -> str:
    """The name of a run given as a name or as a Run."""
    if isinstance(run, Run):
        return run.name
    if isinstance(run, str):
        return run
    raise InvalidRunError(f"Invalid run {run!r}, expected 'str' or 'Run' object but got {type(run)!r}.")


def _flow_name(flow: Path | None) -> str:
    if flow is None:
        return "flow"
    return flow.stem if flow.suffix == ".prompty" else flow_folder(flow).name


def _check_init(init: Any) -> dict[str, Any]:
    if not isinstance(init, dict):
        raise UserErrorException(f"Invalid init kwargs: {init}. Expecting a dictionary.")
    try:
        json.dumps(init, default=_as_dict)
    except TypeError as error:
        raise UserErrorException(f"Invalid init kwargs: {init}. Expecting a json serializable dictionary.") from error
    return init


def _as_dict(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
