"""Python source files of a flow -> modules and the one tool they hold."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from promptflow.exceptions import InvalidSource, MultipleToolsDefined, NoToolDefined, ToolLoadError
from promptflow.tooling.decorator import ToolProvider, is_tool, original

MODULE_NAME = "__pf_main__"  # what a tool's file has always seen as its __name__


def load_script(path: Path) -> ModuleType:
    """Execute a Python file as a module of its own. Raises ToolLoadError with file:line.

    It is not found by import: two flows with a ``hello.py`` each do not meet.
    """
    module_name = MODULE_NAME
    spec = importlib.util.spec_from_file_location(module_name, path.resolve())
    if spec is None or spec.loader is None:
        raise ToolLoadError(f"Failed to load python file '{path}': it is not a .py file.", location=str(path))
    module = importlib.util.module_from_spec(spec)
    # dataclasses with postponed annotations look their module up here while they are made
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        del sys.modules[module_name]
        raise ToolLoadError(
            f"Failed to load python module from file '{path}': it calls sys.exit({error.code}) when imported.",
            location=str(path),
            hint="move the call below if __name__ == '__main__':",
        ) from error
    except Exception as error:
        del sys.modules[module_name]
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        raise ToolLoadError(
            f"Failed to load python module from file '{path}': ({type(error).__name__}) {error}",
            location=_location(error, path),
            hint=f"pip install the package that provides '{missing}'" if missing else "",
        ) from error
    return module


def find_tool(module: ModuleType, path: Path) -> tuple[Any, type[ToolProvider] | None]:
    """``(function or method, its ToolProvider class)``: the one tool that a module defines."""
    found: list[tuple[Any, type[ToolProvider] | None]] = []
    for _, obj in inspect.getmembers(module):
        if is_tool(obj) and getattr(original(obj), "__module__", "") == module.__name__:
            found.append((obj, None))
        elif isinstance(obj, type) and issubclass(obj, ToolProvider) and obj.__module__ == module.__name__:
            found += [(method, obj) for _, method in inspect.getmembers(obj, is_tool)]
    if not found:
        raise NoToolDefined(
            "No tool found in the python script. Please make sure you have one and only one tool definition in your "
            "script.",
            location=str(path),
            hint="put @tool above the node's function",
        )
    if len(found) > 1:
        names = ", ".join(original(f).__name__ for f, _ in found)
        raise MultipleToolsDefined(
            f"Expected 1 but collected {len(found)} tools: {names}. Please make sure you have one and only one tool "
            "definition in your script.",
            location=str(path),
            hint="keep @tool on one function and move the others to files of their own",
        )
    return found[0]


def script_path(folder: Path, source: str | None, node: str) -> Path:
    """The file of a code source. Raises InvalidSource where it is not there."""
    if not source:
        raise InvalidSource(f"Load tool failed for node '{node}'. The source path is empty.", hint="add source.path")
    path = folder / source
    if not path.is_file():
        raise InvalidSource(
            f"Load tool failed for node '{node}'. Tool file '{source}' can not be found.", location=str(path)
        )
    return path


def _location(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno or 0}:{error.offset or 0}"
    line, traceback = 0, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(path.resolve()):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return f"{path}:{line}" if line else str(path)
