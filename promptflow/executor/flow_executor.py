"""Door: `FlowExecutor`, the class that user code and test suites import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptflow.connections.models import _Connection as Connection
from promptflow.connections.provider import from_dict
from promptflow.contracts.run import AggregationResult, LineResult, RunInfo
from promptflow.exceptions import ConnectionNotFoundError
from promptflow.executor.loader import Executor, load_executor


class FlowExecutor:
    """One loaded flow under Microsoft's method names."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @classmethod
    def create(
        cls,
        flow_file: Path | str,
        connections: Mapping[str, Any] | None = None,
        working_dir: Path | str | None = None,
        *,
        raise_ex: bool = True,
        variant: str | None = None,
        node_override: Mapping[str, Any] | None = None,
        init_kwargs: Mapping[str, Any] | None = None,
        env_variables: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> FlowExecutor:
        """``connections``: name -> connection, or its ``{"type", "value"}`` dict; without it the workspace's count."""
        file = Path(working_dir) / flow_file if working_dir else Path(flow_file)
        executor = load_executor(
            file,
            variant=variant,
            overrides=node_override,
            init=init_kwargs,
            environment_variables=env_variables,
            provider=_provider(connections) if connections is not None else None,
        )
        instance = cls(executor)
        instance._raises = raise_ex
        return instance

    _raises = True

    @property
    def has_aggregation_node(self) -> bool:
        return self._executor.has_aggregation

    def exec_line(
        self, inputs: Mapping[str, Any], index: int | None = None, run_id: str | None = None, **_: Any
    ) -> LineResult:
        with self._executor.activated():
            result = self._executor.run_line(inputs, index=index, run_id=run_id)
        return self._checked(result)

    async def exec_line_async(
        self, inputs: Mapping[str, Any], index: int | None = None, run_id: str | None = None, **_: Any
    ) -> LineResult:
        with self._executor.activated():
            result = await self._executor.run_line_async(inputs, index=index, run_id=run_id)
        return self._checked(result)

    def exec_aggregation(
        self,
        inputs: Mapping[str, Sequence[Any]],
        aggregation_inputs: Mapping[str, Sequence[Any]],
        run_id: str | None = None,
    ) -> AggregationResult:
        with self._executor.activated():
            return self._executor.run_aggregation(inputs, aggregation_inputs, run_id)

    @classmethod
    def load_and_exec_node(
        cls,
        flow_file: Path | str,
        node_name: str,
        *,
        flow_inputs: Mapping[str, Any] | None = None,
        dependency_nodes_outputs: Mapping[str, Any] | None = None,
        connections: Mapping[str, Any] | None = None,
        working_dir: Path | str | None = None,
        raise_ex: bool = False,
        **_: Any,
    ) -> RunInfo:
        """The record of one node run alone."""
        executor: Any = cls.create(flow_file, connections, working_dir)._executor
        with executor.activated():
            result: LineResult = executor.run_node(node_name, flow_inputs or {}, dependency_nodes_outputs)
        if raise_ex and result.exception is not None:
            raise result.exception
        return result.node_run_infos[node_name]

    def _checked(self, result: LineResult) -> LineResult:
        if self._raises and result.exception is not None:
            raise result.exception
        return result


def _provider(connections: Mapping[str, Any]) -> Any:
    def get(name: str) -> Connection:
        if name not in connections:
            raise ConnectionNotFoundError(
                f"Connection '{name}' is not found.", hint=f"given are: {', '.join(connections) or 'none'}"
            )
        value = connections[name]
        return value if isinstance(value, Connection) else from_dict(value)

    return get
