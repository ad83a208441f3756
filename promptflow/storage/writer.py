"""Writing a run's folder while its nodes and lines end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from promptflow.contracts.run import LineResult, RunInfo, Status
from promptflow.exceptions import WorkspaceError
from promptflow.storage.encode import Default, image_files, to_json
from promptflow.storage.entries import line_entry, node_entry
from promptflow.storage.folder import INPUTS, OUTPUT_FILE, OUTPUTS, RunFolder, as_outputs
from promptflow.storage.journal import Journal
from promptflow.storage.jsonl import AppendedFiles, SortedLines
from promptflow.storage.layout import LINE_NUMBER, LINES, LOGS, LineFiles, span_name
from promptflow.workspace.atomic import make_folder, write_whole
from promptflow.workspace.redact import redacted

SMALL = 100  # lines up to which every line has files of its own
BATCH_SIZE = 1000  # lines per file of logs in others
_ERROR, _METRICS = "error.json", "metrics.json"


class RunWriter(RunFolder):
    """The folder of one run, written. Lines and nodes may be added from several threads, in any order.

    The journal has the last word: a node or line counts when it is there, and everything else is made from it again
    when a run goes on after a crash.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for name in ("flow_outputs", LINES, LOGS):
            make_folder(path / name)
        self.log_file.touch()
        self.batch_size = 0
        self._journal: Journal | None = None
        self._lock = Lock()
        self._journaled: dict[int, set[str]] = {}
        self._defaults: dict[tuple[str, str, bool], Default] = {}
        self._logs = AppendedFiles()
        self._has_images = False
        self._failure: WorkspaceError | None = None

    def expect(self, lines: int) -> None:
        """How many lines will be added, at most. First of all."""
        is_small = lines <= SMALL
        self.batch_size = 1 if is_small else BATCH_SIZE
        write_whole(self.path / "meta.json", to_json({"batch_size": self.batch_size}))
        for name in (INPUTS, OUTPUTS, OUTPUT_FILE):  # of an earlier attempt: two of them may be one file
            (self.path / name).unlink(missing_ok=True)
        self._files = LineFiles(self.path) if is_small else None
        self._inputs = SortedLines(self.path / INPUTS)
        # In a large run, both files of outputs are one: they say the same unless there are images.
        self._outputs = SortedLines(self.path / OUTPUTS) if is_small else None
        self._flow_outputs = SortedLines(self.path / OUTPUT_FILE, None if is_small else self.path / OUTPUTS)

    def start(self, run_id: str) -> None:
        """Begin a journal."""
        shutil.rmtree(self.journal, ignore_errors=True)
        self._journal = Journal(self.journal, [to_json({"run": run_id})])

    def go_on(self, run_id: str, forget: bytes, known: Mapping[int, Collection[str]]) -> None:
        """Go on with the journal. ``forget``: a record that makes some of it void; ``known``: the nodes, by line that
        has not ended, which stay."""
        self._journal = Journal(self.journal, [to_json({"run": run_id}), forget])
        self._journaled = {line: set(names) for line, names in known.items()}
        for name in (_ERROR, _METRICS):
            (self.path / name).unlink(missing_ok=True)

    def add_line(
        self, result: LineResult, row: Mapping[str, Any], printed: str = "", *, is_journaled: bool = False
    ) -> None:
        """Write one line: its nodes that are not in the journal yet, its entry, inputs, outputs and log.

        ``row``: the inputs as mapped; ``printed``: what its code printed; ``is_journaled``: it ended in an earlier
        attempt, and only the files beside the journal are made again.
        """
        if self._failure is not None:  # the line may have failed for that reason: it is to run again, not to count
            raise self._failure
        info = result.run_info
        number = info.index or 0
        default = self._default(LINES, info.message_format)
        inputs = to_json({**row, **(info.inputs or {}), LINE_NUMBER: number}, default)
        output = to_json(info.output, default) if info.status is Status.Completed else None
        if not is_journaled:
            for node in result.node_run_infos.values():
                self.add_node(node)
            self._append(line_entry(info, inputs, output, default))
            with self._lock:
                self._journaled.pop(number, None)
        if output is not None:
            self._add_outputs(number, info.output, output, info.message_format)
        self._inputs.add(number, inputs)
        if self._files is not None:
            self._files.write_line(info, inputs, output, default)
            for node in result.node_run_infos.values():
                self._files.write_node(node)
        if not is_journaled:
            self._add_log(number, _line_log(result, printed))

    def add_node(self, info: RunInfo) -> None:
        """Write the entry of a node that ended, once."""
        if info.index is not None:
            with self._lock:
                names = self._journaled.setdefault(info.index, set())
                if info.node in names:
                    return
                names.add(info.node)
        elif self._files is not None:
            self._files.write_node(info)
        self._append(node_entry(info, self._default(LINES, info.message_format)))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        write_whole(self.path / _METRICS, to_json(metrics))

    def write_error(self, error: Mapping[str, Any]) -> None:
        write_whole(self.path / _ERROR, to_json(error))

    def close(self) -> None:
        """Bring the journal to the disk and sort the other files. The second time does nothing."""
        if self._journal is None:  # it failed before any line
            if not (self.path / "meta.json").exists():
                self.expect(0)
            return
        self._journal.close()
        self._logs.close()
        for lines in (self._inputs, self._outputs, self._flow_outputs):
            if lines is not None:
                lines.close()
        for name in (INPUTS, OUTPUTS, OUTPUT_FILE):
            (self.path / name).touch()
        if self._has_images and self._outputs is None:
            self._write_outputs_apart()

    # -- parts ---------------------------------------------------------------------------------------------------------
    def _append(self, entry: bytes) -> None:
        assert self._journal is not None
        try:
            self._journal.append(entry)
        except WorkspaceError as error:
            self._failure = error
            raise

    def _add_outputs(self, number: int, output: Any, text: bytes, message_format: str) -> None:
        if b"image" in text or not isinstance(output, Mapping) or LINE_NUMBER in output:
            values = {**as_outputs(output), LINE_NUMBER: number}
            relative = self._default("flow_outputs", message_format, absolute=False)
            row = to_json({LINE_NUMBER: number, **values}, relative)
            self._has_images = self._has_images or b"image" in text
        else:
            row = b'{"line_number":%d,%b' % (number, text[1:]) if text != b"{}" else b'{"line_number":%d}' % number
        self._flow_outputs.add(number, row)
        if self._outputs is not None:
            values = {**as_outputs(output), LINE_NUMBER: number}
            self._outputs.add(number, to_json(values, self._default(LINES, message_format)))

    def _write_outputs_apart(self) -> None:
        """outputs.jsonl as a file of its own, whose paths of images are absolute."""
        fresh = self.path / f".{OUTPUTS}.apart"
        with fresh.open("wb") as target:
            for record in self.lines():
                if record["status"] == Status.Completed.value:
                    target.write(to_json({**as_outputs(record["output"]), LINE_NUMBER: record["index"]}) + b"\n")
        os.replace(fresh, self.path / OUTPUTS)

    def _add_log(self, number: int, log: str) -> None:
        if self._files is not None:
            self._files.write_log(number, log)
        elif log:
            name = span_name(number, self.batch_size, ".log")
            self._logs.append(f"{self.path}/{LOGS}/{name}", f"line {number}:\n{log}\n".encode("utf-8", "replace"))

    def _default(self, folder: str, message_format: str, absolute: bool = True) -> Default:
        """How values become JSON: their images are files in this folder."""
        key = (folder, message_format, absolute)
        if key not in self._defaults:
            self._defaults[key] = image_files(self.path / folder, message_format, absolute=absolute)
        return self._defaults[key]


def _line_log(result: LineResult, printed: str) -> str:
    """What the line printed, and the error it ended with, without known secrets."""
    error = result.run_info.error
    log = printed
    if error:
        trace = (error.get("debugInfo") or {}).get("stackTrace", "")
        log = f"{printed}{error.get('message', '')}\n{trace}"
    return redacted(log.encode("utf-8", "replace")).decode() if log else ""
