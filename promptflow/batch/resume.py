"""What an earlier run, or an earlier attempt at this one, left: as if it had just been run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.contracts.reference import Reference
from promptflow.contracts.run import FlowRunInfo, LineResult, RunInfo, Status
from promptflow.exceptions import PromptflowException
from promptflow.executor.inputs import step_into
from promptflow.executor.multimedia import load_images
from promptflow.storage.ended import Journaled, forget
from promptflow.storage.entries import Entry, inputs_of, line_record, node_record, output_of
from promptflow.storage.folder import RunFolder
from promptflow.storage.numbers import Numbers

if TYPE_CHECKING:
    from promptflow.executor.loader import Executor

_ABSOLUTE = Path("/")  # the images in records have absolute paths
_OF_LINE, _OF_NODE = (tuple(field.name for field in fields(cls)) for cls in (FlowRunInfo, RunInfo))
_UNREADABLE = (KeyError, TypeError, ValueError, PromptflowException)


class Attempts:
    """The earlier attempts at a run, from its journal.

    After `lines` is used up, ``ended`` holds the numbers of its lines, ``known`` the nodes, by line that has not
    ended, which need not run again, and ``forgotten`` is what to write at the head of the next attempt.
    """

    def __init__(
        self, folder: RunFolder, executor: Executor, run_id: str, *, retry: bool = False, keep_nodes: bool = True
    ) -> None:
        """``retry``: failed lines are to run again. ``keep_nodes``: nodes of lines that did not end count."""
        self._journaled = Journaled(folder.journal)
        self._executor = executor
        self._run_id = run_id
        self._retry = retry
        self._keep_nodes = keep_nodes
        self.ended = Numbers()
        self.known: dict[int, dict[str, RunInfo]] = {}
        self.forgotten = b""

    def lines(self) -> Iterator[LineResult]:
        """The lines that ended. One that cannot be read counts as never run."""
        again: list[int] = []
        for line, nodes in self._journaled.lines():
            number = line["line"]
            if self._retry and line["status"] == Status.Failed.value:
                again.append(number)
                continue
            try:
                result = self._result(line, nodes)
            except _UNREADABLE:
                again.append(number)
                continue
            self.ended.add(number)
            yield result
        self._settle(again)

    def _result(self, line: Entry, nodes: Mapping[str, Entry]) -> LineResult:
        infos = {name: self._info(entry) for name, entry in nodes.items()}
        result = _line_result(line_record(line, self._run_id), infos, self._executor, self._run_id, self._run_id)
        if "exact" in line:
            result.output = result.run_info.output = output_of(line)
        if "given" in line:
            result.run_info.inputs = inputs_of(line)
        return result

    def _info(self, entry: Entry) -> RunInfo:
        info = _node(node_record(entry, self._run_id), self._run_id, self._run_id)
        if "exact" in entry:
            info.output = output_of(entry)
        return info

    def _settle(self, again: list[int]) -> None:
        dropped: dict[int, list[str]] = {}
        for number, entries in self._journaled.open_nodes.items():
            for name, entry in entries.items():
                info = self._known(entry)
                if info is None:
                    dropped.setdefault(number, []).append(name)
                else:
                    self.known.setdefault(number, {})[name] = info
        self.forgotten = forget(again, dropped, aggregation=True)

    def _known(self, entry: Entry) -> RunInfo | None:
        """The record of a node that need not run again: it ended well, and its output is what it was."""
        is_done = entry["status"] in (Status.Completed.value, Status.Bypassed.value) and "lossy" not in entry
        if not self._keep_nodes or not is_done:
            return None
        try:
            return self._info(entry)
        except _UNREADABLE:
            return None


def previous_lines(folder: RunFolder, executor: Executor, run_id: str) -> Iterator[LineResult]:
    """The completed lines in ``folder``, renamed to run ``run_id``. A record that cannot be read counts as absent."""
    for record, records in folder.lines_with_nodes():
        if record.get("status") == Status.Completed.value:
            try:
                old = record["root_run_id"]
                nodes = {name: _node(info, old, run_id) for name, info in records.items()}
                yield _line_result(record, nodes, executor, old, run_id)
            except _UNREADABLE:
                continue


def _line_result(
    record: Mapping[str, Any], nodes: Mapping[str, RunInfo], executor: Executor, old: str, new: str
) -> LineResult:
    info = _flow_info(record, old, new)
    references = _aggregation_inputs(executor, nodes) if info.status is Status.Completed else {}
    return LineResult(info.output, references, info, nodes)


def _flow_info(record: Mapping[str, Any], old: str, new: str) -> FlowRunInfo:
    values = _values(record, _OF_LINE)
    values["run_id"] = record["run_id"].replace(old, new, 1)
    values["parent_run_id"] = values["root_run_id"] = new
    return FlowRunInfo(**values)


def _node(record: Mapping[str, Any], old: str, new: str) -> RunInfo:
    values = _values(record, _OF_NODE)
    for name in ("run_id", "flow_run_id", "parent_run_id"):
        if values.get(name):
            values[name] = values[name].replace(old, new, 1)
    return RunInfo(**values)


def _values(record: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {name: record.get(name) for name in names}
    values["status"] = Status(record["status"])
    for name in ("start_time", "end_time"):
        if values[name]:
            values[name] = datetime.fromisoformat(values[name]).astimezone(UTC).replace(tzinfo=None)
    message_format = values["message_format"] = record.get("message_format") or "basic"
    for name in ("inputs", "output"):
        values[name] = load_images(values[name], _ABSOLUTE, message_format)
    return values


def _aggregation_inputs(executor: Executor, nodes: Mapping[str, RunInfo]) -> dict[str, Any]:
    if executor.flow.kind != "dag":
        return {}
    references: dict[str, Reference] = {
        reference.text: reference
        for node in executor.flow.nodes
        if node.aggregation
        for reference in node.references
        if reference.node in nodes
    }
    return {
        text: step_into(reference, nodes[reference.node].output)
        for text, reference in references.items()
        if reference.node is not None and nodes[reference.node].status is Status.Completed
    }
