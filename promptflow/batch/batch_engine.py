"""`BatchEngine`: a batch of lines without a client, as code written for Prompt flow starts it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptflow.batch.options import RunOptions
from promptflow.batch.result import BatchResult
from promptflow.batch.run import flow_lines, run_batch
from promptflow.connections.provider import from_dict
from promptflow.exceptions import BulkRunException
from promptflow.executor.loader import load_executor
from promptflow.storage.writer import RunWriter


class BatchEngine:
    """Runs a flow over data files; outputs and records go to a folder of the caller's.

    ``connections``: objects, or dictionaries as ``connections.yaml`` files hold them, by name.
    """

    def __init__(
        self,
        flow_file: Any,
        working_dir: Path | str | None = None,
        *,
        connections: Mapping[str, Any] | None = None,
        storage: Any = None,
        batch_timeout_sec: int | None = None,
        line_timeout_sec: int | None = None,
        worker_count: int | None = None,
        init_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._options = RunOptions.of(
            {
                "concurrency": worker_count or None,
                "line_timeout": line_timeout_sec or None,
                "batch_timeout": batch_timeout_sec or None,
            }
        )
        source = flow_file
        if isinstance(flow_file, str | Path):
            source = Path(working_dir or ".") / flow_file
        known = {name: from_dict(c) if isinstance(c, dict) else c for name, c in (connections or {}).items()}
        self._executor = load_executor(
            source, code=working_dir, init=init_kwargs, provider=known.__getitem__ if known else None
        )

    def run(
        self,
        input_dirs: Mapping[str, str | Path],
        inputs_mapping: Mapping[str, Any] | None,
        output_dir: Path | str,
        run_id: str | None = None,
        raise_on_line_failure: bool = False,
        **kwargs: Any,
    ) -> BatchResult:
        """Run all lines. ``input_dirs``: files or folders by source name; ``output_dir`` gets the run's records."""
        folder = Path(self._executor.flow.folder)
        paths = {name: (folder / path).resolve() for name, path in input_dirs.items()}
        lines = flow_lines(self._executor, paths, inputs_mapping)
        writer = RunWriter((folder / output_dir).resolve())
        try:
            with self._executor.activated():
                result = run_batch(
                    self._executor, lines, writer, run_id=run_id or str(uuid.uuid4()), options=self._options
                )
        finally:
            writer.close()
        if result.exception is not None:
            raise result.exception
        if raise_on_line_failure and result.failed_lines:
            error = result.first_error() or {}
            raise BulkRunException(
                f"Failed to run {result.failed_lines}/{result.total_lines} lines. "
                f"First error message is: {error.get('message', '')}"
            )
        return result
