"""Code that a user wrote, in this process: whatever it raises is an error of ours that says where."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve.scorers.base import LoadError, ModelError
from serve.scorers.lacking import lacking

OURS = ("serve", "catalog")  # packages that this process has loaded, beside promptflow


def hidden_by(folder: Path) -> list[str]:
    """Our packages whose names modules in a user's folder have: those are what is imported under them."""
    return [name for name in OURS if (folder / name).is_dir() or (folder / f"{name}.py").is_file()]


def imported(file: Path) -> Any:
    """The module of a script, known by its own name. LoadError if there is none, or if it raises."""
    if not file.is_file():
        raise LoadError(f"There is no {file.name} in {file.parent}.", hint="code_configuration: {code, scoring_script}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # pickles name classes of it
    guarded(lambda: spec.loader.exec_module(module), file.name)  # type: ignore[union-attr]
    return module


def guarded(call: Callable[[], Any], what: str) -> None:
    """Call what a script does before there is a request: its traceback is for the log, LoadError says what helps."""
    try:
        call()
    except BaseException as error:  # SystemExit, too
        told = failed(error, what)
        print(told.traceback, file=sys.stderr, flush=True)
        hint = lacking(str(error.name)) if isinstance(error, ModuleNotFoundError) else ""
        raise LoadError(str(told), hint=hint) from error


def failed(error: BaseException, what: str) -> ModelError:
    """The error of a request whose code raised ``error``; where is told by the last line of the user's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(Path.cwd())]
    where = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    text = "".join(traceback.format_exception(error))
    return ModelError(f"{what} raised {type(error).__name__}{where}: {error}", text)
