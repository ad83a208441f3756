"""A run's folder: what is in it, reading it.

inputs.jsonl, outputs.jsonl           one row per line, sorted once the run has ended
flow_outputs/output.jsonl             the outputs, with images beside them
journal/                              every node and line as it ended: what a run goes on from, see `ended`
flow_artifacts/, node_artifacts/      the records of lines and nodes of a small run, see `layout`
flow_logs/<line>.log, logs.txt        what a line printed; the log of the run
metrics.json, meta.json, error.json   snapshot/ is a copy of the flow
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from promptflow.storage.ended import Journaled, in_order
from promptflow.storage.entries import line_record, node_record
from promptflow.storage.journal import segments
from promptflow.storage.jsonl import read_jsonl
from promptflow.storage.layout import LINE_NUMBER, Record, read_aggregation, read_lines

INPUTS, OUTPUTS, OUTPUT_FILE = "inputs.jsonl", "outputs.jsonl", "flow_outputs/output.jsonl"
JOURNAL, LOG, SNAPSHOT = "journal", "logs.txt", "snapshot"


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

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL

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

    def lines(self) -> Iterator[Record]:
        """The records of all lines that ended, in order."""
        for record, _ in self.lines_with_nodes():
            yield record

    def lines_with_nodes(self) -> Iterator[tuple[Record, dict[str, Record]]]:
        """The records of all lines that ended, in order, each with those of its nodes by name; not those of
        aggregation nodes."""
        if not segments(self.journal):
            yield from read_lines(self.path)
            return
        for run, line, nodes in in_order(self.journal):
            yield line_record(line, run), {name: node_record(entry, run) for name, entry in sorted(nodes.items())}

    def aggregation(self) -> dict[str, Record]:
        """The records of its aggregation nodes, by name."""
        if not segments(self.journal):
            return read_aggregation(self.path)
        journaled = Journaled(self.journal)
        for _ in journaled.lines():
            pass  # what is said of aggregation nodes is known at the end
        return {name: node_record(entry, journaled.run) for name, entry in sorted(journaled.aggregation.items())}

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


def as_outputs(output: Any) -> dict[str, Any]:
    """Outputs of a line by name; a flex flow may return any value, which is then called ``output``."""
    return dict(output) if isinstance(output, Mapping) else {"output": output}
