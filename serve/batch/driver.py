"""`Driver`: what goes through mini-batches in a worker process: a script's ``run``, or a model that needs no code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.batch.rows import Rows, RowsError, to_rows
from serve.scorers.base import LoadError
from serve.scorers.user_code import failed, guarded, imported


@dataclass(frozen=True)
class MiniBatch:
    """``files`` of this machine; or a ``table`` of pandas, whose rows come from ``origins``: files, and how many of
    each."""

    files: Sequence[Path] = ()
    table: Any = None
    origins: Sequence[tuple[str, int]] = ()

    def __len__(self) -> int:
        return len(self.files) if self.table is None else len(self.table)


class Driver(ABC):
    """Loaded once in its process; then called for one mini-batch after the other."""

    @abstractmethod
    def load(self) -> None:
        """LoadError says what is missing and how to mend it."""

    @abstractmethod
    def run(self, batch: MiniBatch) -> Rows:
        """The rows of a mini-batch. ModelError where the code or the model failed on it; RowsError, InputError and
        DataFileError where it would again."""

    @abstractmethod
    def close(self) -> None:
        """There are no more mini-batches."""


class ScriptDriver(Driver):
    """``init()`` once, ``run(mini_batch)`` with a list of paths or a table, ``shutdown()`` at the end. With ``keep``
    false the rows are counted only."""

    def __init__(self, file: Path, *, keep: bool = True) -> None:
        self._file, self._keep = file, keep
        self._run: Callable[[Any], Any] = list
        self._shutdown: Callable[[], Any] | None = None

    def load(self) -> None:
        module = imported(self._file)
        run = getattr(module, "run", None)
        if not callable(run):
            raise LoadError(f"{self._file.name} has no function 'run'.", hint="def run(mini_batch): ...")
        self._run, self._shutdown = run, getattr(module, "shutdown", None)
        init = getattr(module, "init", None)
        if init is not None:
            guarded(init, f"init() of {self._file.name}")

    def run(self, batch: MiniBatch) -> Rows:
        given = batch.table if batch.table is not None else [str(file) for file in batch.files]
        try:
            result = self._run(given)
            # In here: a generator's code runs while its items are taken.
            return to_rows(result, keep=self._keep)
        except RowsError:
            raise
        except BaseException as error:  # SystemExit, too: a mini-batch does not end the process
            raise failed(error, "run()") from error

    def close(self) -> None:
        if callable(self._shutdown):
            try:
                self._shutdown()
            except BaseException as error:
                raise failed(error, "shutdown()") from error
