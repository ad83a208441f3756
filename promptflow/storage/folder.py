"""A run's folder: what is in it, writing it while lines complete, reading it back.

inputs.jsonl, outputs.jsonl           one row per line, sorted
flow_outputs/output.jsonl             the outputs, with images beside them
flow_artifacts/<from>_<to>.jsonl      the records of these lines
node_artifacts/<node>/<line>.jsonl    the record of a node in a line; an aggregation node has line 0
flow_logs/<line>.log, logs.txt        what a line printed; the log of the run
metrics.json, meta.json, error.json   snapshot/ is a copy of the flow

A small run has a file per line. For a large one, files hold ``batch_size`` lines each (in meta.json), in order of
completion, and those of nodes and logs are called ``<from>_<to>`` too: creating a file costs more than running a line.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from promptflow.contracts.run import FlowRunInfo, LineResult, RunInfo, Status
from promptflow.storage.encode import Default, image_files, to_json
from promptflow.storage.jsonl import AppendedFiles, SortedLines, read_jsonl
from promptflow.workspace.atomic import make_folder, write_whole

LINE_NUMBER = "line_number"
INPUTS, OUTPUTS, OUTPUT_FILE = "inputs.jsonl", "outputs.jsonl", "flow_outputs/output.jsonl"
LOG = "logs.txt"
SMALL = 100  # lines up to which every line has files of its own
BATCH_SIZE = 1000


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
        for file in self._files("flow_artifacts"):
            yield from _records(file)

    def lines_with_nodes(self) -> Iterator[tuple[dict[str, Any], dict[str, dict[str, Any]]]]:
        """The records of all lines, each with those of its nodes by name; not those of aggregation nodes."""
        folders = sorted(p for p in (self.path / "node_artifacts").glob("*") if p.is_dir())
        for file in self._files("flow_artifacts"):
            records = _records(file)
            nodes: dict[int, dict[str, Any]] = {record["index"]: {} for record in records}
            for folder in folders:
                for record in _records(folder / _node_file(file.name)):
                    if record.get("index") in nodes:
                        nodes[record["index"]][folder.name] = record
            for record in records:
                yield record, nodes[record["index"]]

    def nodes(self) -> Iterator[dict[str, Any]]:
        """The records of all nodes, node by node."""
        for folder in sorted((self.path / "node_artifacts").glob("*")):
            for file in sorted(folder.glob("*.jsonl")):
                yield from _records(file)

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

    def _files(self, name: str) -> list[Path]:
        return sorted((self.path / name).glob("*.jsonl"))


class RunWriter(RunFolder):
    """The folder of one run, written. Lines may be added from several threads, in any order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for name in ("flow_outputs", "flow_artifacts", "node_artifacts", "flow_logs", "snapshot"):
            make_folder(path / name)
        self.log_file.touch()
        self.batch_size = 1
        self._inputs = SortedLines(path / INPUTS)
        self._outputs = SortedLines(path / OUTPUTS)
        self._flow_outputs = SortedLines(path / OUTPUT_FILE)
        self._appended = AppendedFiles()
        self._defaults: dict[tuple[str, str, bool], Default] = {}
        self._nodes: set[str] = set()

    def expect(self, lines: int) -> None:
        """How many lines will be added, at most."""
        self.batch_size = 1 if lines <= SMALL else BATCH_SIZE
        write_whole(self.path / "meta.json", to_json({"batch_size": self.batch_size}))

    def add_line(self, result: LineResult, row: Mapping[str, Any], printed: str = "") -> None:
        """Write one line: its record, its nodes' records, its inputs and outputs, its log.

        ``row``: the inputs as mapped; ``printed``: what its code printed.
        """
        info = result.run_info
        number = info.index or 0
        default = self._default("flow_artifacts", info.message_format)
        inputs = to_json({**row, **(info.inputs or {}), LINE_NUMBER: number}, default)
        output = None
        if info.status is Status.Completed:
            output = to_json(info.output, default)
            values = as_outputs(info.output)
            relative = self._default("flow_outputs", info.message_format, absolute=False)
            self._flow_outputs.add(number, to_json({LINE_NUMBER: number, **values}, relative))
            self._outputs.add(number, to_json({**values, LINE_NUMBER: number}, default))
        record = to_json(_line_record(info, inputs, output), default)
        self._append("flow_artifacts", _span_name(number, self.batch_size), record)
        for node in result.node_run_infos.values():
            self.add_node(node)
        if log := _line_log(result, printed):
            self._append("flow_logs", self._per_line_name(number, ".log"), self._log_text(number, log))
        self._inputs.add(number, inputs)

    def add_node(self, info: RunInfo) -> None:
        folder = f"node_artifacts/{info.node}"
        if info.node not in self._nodes:
            make_folder(self.path / folder)
            self._nodes.add(info.node)
        record = {
            "NodeName": info.node,
            LINE_NUMBER: info.index,
            "run_info": vars(info) if info.result is None else {**vars(info), "result": None},
            "start_time": info.start_time.isoformat() if info.start_time else None,
            "end_time": info.end_time.isoformat() if info.end_time else None,
            "status": info.status.value,
        }
        name = "000000000.jsonl" if info.index is None else self._per_line_name(info.index, ".jsonl")
        self._append(folder, name, to_json(record, self._default(folder, info.message_format)))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        write_whole(self.path / "metrics.json", to_json(metrics))

    def write_error(self, error: Mapping[str, Any]) -> None:
        write_whole(self.path / "error.json", to_json(error))

    def close(self) -> None:
        if not (self.path / "meta.json").exists():  # it failed before any line
            self.expect(0)
        else:
            for name in (INPUTS, OUTPUTS, OUTPUT_FILE):
                (self.path / name).touch()
        self._appended.close()
        for lines in (self._inputs, self._outputs, self._flow_outputs):
            lines.close()

    def _append(self, folder: str, name: str, data: bytes) -> None:
        # One write per record: what a crash cuts off is a line without its end, which readers pass over.
        self._appended.append(f"{self.path}/{folder}/{name}", data + b"\n")

    def _per_line_name(self, number: int, suffix: str) -> str:
        return f"{number:09}{suffix}" if self.batch_size == 1 else _span_name(number, self.batch_size, suffix)

    def _log_text(self, number: int, log: str) -> bytes:
        head = f"line {number}:\n" if self.batch_size > 1 else ""
        return f"{head}{log}".encode("utf-8", "replace")

    def _default(self, folder: str, message_format: str, absolute: bool = True) -> Default:
        """How values in records of this folder become JSON: their images are files beside the record."""
        key = (folder, message_format, absolute)
        if key not in self._defaults:
            self._defaults[key] = image_files(self.path / folder, message_format, absolute=absolute)
        return self._defaults[key]


def as_outputs(output: Any) -> dict[str, Any]:
    """Outputs of a line by name; a flex flow may return any value, which is then called ``output``."""
    return dict(output) if isinstance(output, Mapping) else {"output": output}


def _span_name(number: int, size: int, suffix: str = ".jsonl") -> str:
    """``000000000_000000999.jsonl``: the file that holds this line."""
    start = number // size * size
    return f"{start:09}_{start + size - 1:09}{suffix}"


def _node_file(name: str) -> str:
    """The file of a node's records for the lines of a file of lines."""
    start, _, end = name.removesuffix(".jsonl").partition("_")
    return f"{start}.jsonl" if start == end else name


def _records(file: Path) -> list[dict[str, Any]]:
    found = (row["run_info"] for row in read_jsonl(file))
    return sorted(found, key=lambda record: record.get("index") or 0)


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
