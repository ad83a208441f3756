"""`PFClient`: everything one can do with flows, runs, connections and tools, from Python."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from promptflow.client.flows import FlowOperations
from promptflow.client.testing import read_inputs
from promptflow.workspace import Workspace

if TYPE_CHECKING:
    from pandas import DataFrame

    from promptflow.client.cache import CacheOperations
    from promptflow.client.connections import ConnectionOperations
    from promptflow.client.runs import RunOperations
    from promptflow.client.tools import ToolOperations
    from promptflow.client.traces import TraceOperations
    from promptflow.entities.run import Run


class PFClient:
    """Flows, runs, connections and tools of one workspace.

    ``config`` overrides settings (``{"connection.provider": "local"}``) for this client.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, *, workspace: Workspace | None = None, **kwargs: Any):
        self.workspace = workspace or Workspace.open()
        self.config = dict(config or {})
        if self.config:
            self.workspace = _configured(self.workspace, self.config)

    @cached_property
    def flows(self) -> FlowOperations:
        return FlowOperations(self.workspace)

    @cached_property
    def runs(self) -> RunOperations:
        from promptflow.client.runs import RunOperations  # runs are not needed to test a flow

        return RunOperations(self.workspace)

    @cached_property
    def connections(self) -> ConnectionOperations:
        from promptflow.client.connections import ConnectionOperations  # needs the database

        return ConnectionOperations(self.workspace)

    @cached_property
    def tools(self) -> ToolOperations:
        from promptflow.client.tools import ToolOperations  # looks through installed packages

        return ToolOperations(self.workspace)

    @cached_property
    def traces(self) -> TraceOperations:
        from promptflow.client.traces import TraceOperations  # needs the database

        return TraceOperations(self.workspace)

    @cached_property
    def cache(self) -> CacheOperations:
        from promptflow.client.cache import CacheOperations  # SQLite

        return CacheOperations(self.workspace)

    def test(
        self,
        flow: str | PathLike[str] | Callable[..., Any],
        *,
        inputs: Mapping[str, Any] | str | PathLike[str] | None = None,
        variant: str | None = None,
        node: str | None = None,
        environment_variables: Mapping[str, Any] | None = None,
        init: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a flow, or one ``node`` of it, once; ``inputs`` may be a json or jsonl file. Returns the outputs.

        Raises UserErrorException when an input is missing or the flow fails.
        """
        return self.flows.test(
            flow,
            inputs=read_inputs(inputs),
            variant=variant,
            node=node,
            environment_variables=environment_variables,
            init=init,
        )

    def run(
        self,
        flow: str | PathLike[str] | Callable[..., Any] | None = None,
        *,
        data: str | PathLike[str] | None = None,
        run: str | Run | None = None,
        column_mapping: dict[str, Any] | None = None,
        variant: str | None = None,
        connections: dict[str, dict[str, Any]] | None = None,
        environment_variables: dict[str, str] | None = None,
        name: str | None = None,
        display_name: str | None = None,
        tags: dict[str, str] | None = None,
        resume_from: str | Run | None = None,
        code: str | PathLike[str] | None = None,
        init: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Run:
        """Run a flow over ``data``, over the outputs of another ``run``, or both; returns when it has ended.

        ``flow`` is a folder, a file, ``"module:function"``, a function, a class (with ``init``) or an instance;
        ``code`` is where the module lives. ``resume_from`` runs again what did not complete in an earlier run.
        Options of the batch (``concurrency``, ``workers``, ``cache``…, see `promptflow.batch.options`) are keyword
        arguments too. A run with failed lines is Completed; look at ``get_details`` and at its ``_to_dict()["error"]``.
        """
        from promptflow.client.create import create_run  # runs are not needed to test a flow

        return create_run(
            self.runs,
            flow=flow,
            data=data,
            run=run,
            column_mapping=column_mapping,
            variant=variant,
            connections=connections,
            environment_variables=environment_variables,
            name=name,
            display_name=display_name,
            tags=tags,
            resume_from=resume_from,
            code=code,
            init=init,
            **kwargs,
        )

    def stream(self, run: str | Run, raise_on_error: bool = True) -> Run:
        """Print a run's log and a summary."""
        return self.runs.stream(run, raise_on_error)

    def get_details(self, run: str | Run, max_results: int = 100, all_results: bool = False) -> DataFrame:
        """Inputs and outputs of a run as a DataFrame (needs pandas)."""
        return self.runs.get_details(run, max_results=max_results, all_results=all_results)

    def get_metrics(self, run: str | Run) -> dict[str, Any]:
        return self.runs.get_metrics(run)

    def visualize(self, runs: str | Run | Sequence[str | Run]) -> None:
        """Open a page that compares runs."""
        self.runs.visualize(runs)


def _configured(workspace: Workspace, config: Mapping[str, Any]) -> Workspace:
    """The same workspace, seen through other settings."""
    from promptflow.workspace.settings import Settings, variables  # few clients have a configuration

    given = {variable: str(value) for key, value in config.items() for variable in variables(key)}
    view = copy(workspace)
    view.__dict__["settings"] = Settings(workspace.home, environ=ChainMap(given, os.environ))
    return view
