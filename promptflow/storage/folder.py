"""A run's folder: what is in it, writing it while lines complete, reading it back.

inputs.jsonl, outputs.jsonl           one row per line, sorted
flow_outputs/output.jsonl             the outputs, with images beside them
flow_artifacts/<line>_<line>.jsonl    the record of a line
node_artifacts/<node>/<line>.jsonl    the record of a node in a line; an aggregation node has line 0
flow_logs/<line>.log, logs.txt        what a line printed; the log of the run
metrics.json, meta.json, error.json   snapshot/ is a copy of the flow
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from promptflow.contracts.run import FlowRunInfo, LineResult, RunInfo, Status
from promptflow.storage.encode import image_files, to_json
from promptflow.storage.jsonl import SortedLines, open_new, read_jsonl, write_all
from promptflow.workspace.atomic import make_folder, write_whole

LINE_NUMBER = "line_number"
INPUTS, OUTPUTS, OUTPUT_FILE = "inputs.jsonl", "outputs.jsonl", "flow_outputs/output.jsonl"
LOG = "logs.txt"


class RunFolder:
    """The folder of one run, read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def outputs_folder(self) -> Path:
        return self.path / "flow_outputs"

    @property
    def log_file(self) -> Path:
        return self.path / LOG

    def exists(self) -> bool:
        return self.path.is_dir()

    def inputs(self) -> Iterator[dict[str, Any]]:
        """The inputs of every line that ended, with its ``line_number``."""
        if (self.path / INPUTS).is_file():
            yield from read_jsonl(self.path / INPUTS)
            return
        for record in self.lines():  # a run that another program wrote, or that still goes on
            yield {**(record.get("inputs") or {}), LINE_NUMBER: record["index"]}

    def outputs(self) -> Iterator[dict[str, Any]]:
        """The outputs of every line that completed, with its ``line_number``."""
        if (self.path / OUTPUTS).is_file():
            yield from read_jsonl(self.path / OUTPUTS)
            return
        for record in self.lines():
            if record.get("output") is not None:
                yield {**as_outputs(record["output"]), LINE_NUMBER: record["index"]}

    def lines(self) -> Iterator[dict[str, Any]]:
        """The records of all lines, in order."""
        yield from self._records(self.path / "flow_artifacts")

    def nodes(self) -> Iterator[dict[str, Any]]:
        """The records of all nodes, node by node."""
        folder = self.path / "node_artifacts"
        for node in sorted(folder.iterdir()) if folder.is_dir() else ():
            yield from self._records(node)

    def line(self, number: int) -> dict[str, Any] | None:
        return next((r["run_info"] for r in read_jsonl(self.path / "flow_artifacts" / line_file(number))), None)

    def line_nodes(self, number: int) -> dict[str, dict[str, Any]]:
        """The records of the nodes of one line, by name; not those of aggregation nodes."""
        folder = self.path / "node_artifacts"
        found = {}
        for node in sorted(folder.iterdir()) if folder.is_dir() else ():
            record = next((r["run_info"] for r in read_jsonl(node / f"{number:09}.jsonl")), None)
            if record is not None and record.get("index") == number:
                found[node.name] = record
        return found

    def metrics(self) -> dict[str, Any]:
        return self._json("metrics.json")

    def error(self) -> dict[str, Any]:
        """The error of the run, or of its first failed line; empty when there is none."""
        return self._json("error.json")

    def log(self) -> str:
        file = self.log_file
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""

    def delete(self) -> None:
        shutil.rmtree(self.path, ignore_errors=False)

    def _json(self, name: str) -> dict[str, Any]:
        try:
            values: dict[str, Any] = orjson.loads((self.path / name).read_bytes())
            return values
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}

    @staticmethod
    def _records(folder: Path) -> Iterator[dict[str, Any]]:
        for file in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
            for record in read_jsonl(file):
                yield record["run_info"]


class RunWriter(RunFolder):
    """The folder of one run, written. Lines may be added from several threads, in any order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for name in ("flow_outputs", "flow_artifacts", "node_artifacts", "flow_logs", "snapshot"):
            make_folder(path / name)
        self.log_file.touch()
        write_whole(path / "meta.json", b'{"batch_size": 1}')
        self._inputs = SortedLines(path / INPUTS)
        self._outputs = SortedLines(path / OUTPUTS)
        self._flow_outputs = SortedLines(path / OUTPUT_FILE)
        self._nodes: set[str] = set()

    def add_line(self, result: LineResult, row: Mapping[str, Any], printed: str = "") -> None:
        """Write one line: its record, its nodes' records, its inputs and outputs, its log.

        ``row``: the inputs as mapped; ``printed``: what its code printed.
        """
        info = result.run_info
        number = info.index or 0
        artifacts = self.path / "flow_artifacts"
        default = image_files(artifacts, info.message_format, absolute=True)
        inputs = to_json({**row, **(info.inputs or {}), LINE_NUMBER: number}, default)
        output = None
        if info.status is Status.Completed:
            output = to_json(info.output, default)
            values = as_outputs(info.output)
            relative = image_files(self.outputs_folder, info.message_format, absolute=False)
            self._flow_outputs.add(number, to_json({LINE_NUMBER: number, **values}, relative))
            self._outputs.add(number, to_json({**values, LINE_NUMBER: number}, default))
        _write(artifacts / line_file(number), to_json(_line_record(info, inputs, output), default))
        for node in result.node_run_infos.values():
            self.add_node(node)
        if log := _line_log(result, printed):
            _write(self.path / "flow_logs" / f"{number:09}.log", log.encode("utf-8", "replace"))
        self._inputs.add(number, inputs)

    def add_node(self, info: RunInfo) -> None:
        folder = self.path / "node_artifacts" / info.node
        if info.node not in self._nodes:
            make_folder(folder)
            self._nodes.add(info.node)
        default = image_files(folder, info.message_format, absolute=True)
        record = {
            "NodeName": info.node,
            LINE_NUMBER: info.index,
            "run_info": vars(info) if info.result is None else {**vars(info), "result": None},
            "start_time": info.start_time.isoformat() if info.start_time else None,
            "end_time": info.end_time.isoformat() if info.end_time else None,
            "status": info.status.value,
        }
        _write(folder / f"{info.index or 0:09}.jsonl", to_json(record, default))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        write_whole(self.path / "metrics.json", to_json(metrics))

    def write_error(self, error: Mapping[str, Any]) -> None:
        write_whole(self.path / "error.json", to_json(error))

    def close(self) -> None:
        for lines in (self._inputs, self._outputs, self._flow_outputs):
            lines.close()


def as_outputs(output: Any) -> dict[str, Any]:
    """Outputs of a line by name; a flex flow may return any value, which is then called ``output``."""
    return dict(output) if isinstance(output, Mapping) else {"output": output}


@lru_cache(maxsize=64)
def line_file(number: int) -> str:
    return f"{number:09}_{number:09}.jsonl"


def _line_record(info: FlowRunInfo, inputs: bytes, output: bytes | None) -> dict[str, Any]:
    run_info = {**vars(info), "inputs": orjson.Fragment(inputs), "result": None}
    if output is not None:
        run_info["output"] = orjson.Fragment(output)
    return {
        LINE_NUMBER: info.index,
        "run_info": run_info,
        "start_time": info.start_time.isoformat() if info.start_time else None,
        "end_time": info.end_time.isoformat() if info.end_time else None,
        "name": info.name,
        "description": info.description,
        "status": info.status.value,
        "tags": info.tags,
    }


def _line_log(result: LineResult, printed: str) -> str:
    """What the line printed, and the error it ended with."""
    error = result.run_info.error
    if not error:
        return printed
    trace = (error.get("debugInfo") or {}).get("stackTrace", "")
    return f"{printed}{error.get('message', '')}\n{trace}"


def _write(path: Path, data: bytes) -> None:
    # One write per record: what a crash cuts off is a file without its end, which readers pass over.
    file = open_new(path)
    try:
        write_all(file, data + b"\n", path)
    finally:
        os.close(file)
