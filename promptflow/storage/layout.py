"""The files of lines and nodes as Prompt flow's runs have them: those of small runs, and of runs made elsewhere.

flow_artifacts/<from>_<to>.jsonl      the records of these lines
node_artifacts/<node>/<line>.jsonl    the record of a node in a line; an aggregation node has line 0
flow_logs/<line>.log                  what a line printed

A small run has a file per line. Elsewhere files may hold many lines, and those of nodes and logs are then called
``<from>_<to>`` too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from promptflow.contracts.run import FlowRunInfo, RunInfo
from promptflow.storage.encode import Default, image_files, to_json
from promptflow.storage.jsonl import open_file, read_jsonl, write_all
from promptflow.workspace.atomic import make_folder

LINES, NODES, LOGS = "flow_artifacts", "node_artifacts", "flow_logs"
LINE_NUMBER = "line_number"

Record = dict[str, Any]


class LineFiles:
    """Writes the files of lines, each line once or again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._defaults: dict[tuple[str, str], Default] = {}
        make_folder(folder / NODES)

    def write_line(self, info: FlowRunInfo, inputs: bytes, output: bytes | None, default: Default) -> None:
        """``inputs`` and ``output`` are JSON already."""
        run_info = {**vars(info), "inputs": orjson.Fragment(inputs), "result": None}
        if output is not None:
            run_info["output"] = orjson.Fragment(output)
        record = {
            LINE_NUMBER: info.index,
            "run_info": run_info,
            "start_time": info.start_time.isoformat() if info.start_time else None,
            "end_time": info.end_time.isoformat() if info.end_time else None,
            "name": info.name,
            "description": info.description,
            "status": info.status.value,
            "tags": info.tags,
        }
        self._write(f"{LINES}/{span_name(info.index or 0, 1)}", to_json(record, default))

    def write_node(self, info: RunInfo) -> None:
        folder = f"{NODES}/{info.node}"
        make_folder(self._folder / folder)
        record = {
            "NodeName": info.node,
            LINE_NUMBER: info.index,
            "run_info": {**vars(info), "result": None},
            "start_time": info.start_time.isoformat() if info.start_time else None,
            "end_time": info.end_time.isoformat() if info.end_time else None,
            "status": info.status.value,
        }
        key = folder, info.message_format
        if key not in self._defaults:
            self._defaults[key] = image_files(self._folder / folder, info.message_format, absolute=True)
        self._write(f"{folder}/{info.index or 0:09}.jsonl", to_json(record, self._defaults[key]))

    def write_log(self, number: int, text: str) -> None:
        """What the line printed in its last attempt; no file when that is nothing."""
        name = f"{LOGS}/{number:09}.log"
        if text:
            self._write(name, text.encode("utf-8", "replace"))
        else:
            (self._folder / name).unlink(missing_ok=True)

    def _write(self, name: str, record: bytes) -> None:
        path = self._folder / name
        file = open_file(path, os.O_TRUNC)
        try:
            write_all(file, record + b"\n", path)
        finally:
            os.close(file)


def read_lines(folder: Path) -> Iterator[tuple[Record, dict[str, Record]]]:
    """The records of all lines, in order, each with those of its nodes by name."""
    node_folders = sorted(path for path in (folder / NODES).glob("*") if path.is_dir())
    for file in sorted((folder / LINES).glob("*.jsonl")):
        lines = _records(file)
        nodes: dict[int, dict[str, Record]] = {record["index"]: {} for record in lines}
        for node_folder in node_folders:
            for record in _records(node_folder / _node_file(file.name)):
                if record.get("index") in nodes:
                    nodes[record["index"]][node_folder.name] = record
        for record in lines:
            yield record, nodes[record["index"]]


def read_aggregation(folder: Path) -> dict[str, Record]:
    """The records of aggregation nodes by name."""
    found = {}
    for path in sorted((folder / NODES).glob(f"*/{0:09}.jsonl")):
        for record in _records(path):
            if record.get("index") is None:
                found[path.parent.name] = record
    return found


def span_name(number: int, size: int, suffix: str = ".jsonl") -> str:
    """``000000000_000000999.jsonl``: the file that holds this line."""
    start = number // size * size
    return f"{start:09}_{start + size - 1:09}{suffix}"


def _node_file(name: str) -> str:
    """The file of a node's records for the lines of a file of lines."""
    start, _, end = name.removesuffix(".jsonl").partition("_")
    return f"{start}.jsonl" if start == end else name


def _records(file: Path) -> list[Record]:
    found = (row["run_info"] for row in read_jsonl(file))
    return sorted(found, key=lambda record: record.get("index") or 0)
