"""`client.tools`: the tools that flows can use."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from promptflow.contracts.flow_yaml import load_flow_file
from promptflow.exceptions import PromptflowException
from promptflow.executor.loader import find_flow_file
from promptflow.tooling.registry import all_tools
from promptflow.workspace import Workspace


class ToolOperations:
    """Package tools that are installed, and tools in a flow's files."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def list(self, flow: str | Path | None = None) -> dict[str, Any]:
        """``{"package": {id: meta}, "code": {path: meta}}``; the second for the files of ``flow``."""
        package = {tool_id: tool.meta for tool_id, tool in all_tools().items()}
        return {"package": package, "code": self._code(Path(flow)) if flow else {}}

    def validate(self, source: Any, *, raise_error: bool = False, **kwargs: Any) -> dict[str, str]:
        """Problems by tool: of an installed package's tools by its name, or of one tool function."""
        problems = {}
        prefix = getattr(source, "__name__", None) or str(source)
        for tool_id, tool in all_tools().items():
            if prefix and not tool_id.startswith(prefix):
                continue
            try:
                tool.load()
            except (PromptflowException, ImportError) as error:
                if raise_error:
                    raise
                problems[tool_id] = str(error)
        return problems

    @staticmethod
    def _code(flow: Path) -> dict[str, Any]:
        file = find_flow_file(flow)
        definition = load_flow_file(file)
        found: dict[str, Any] = {}
        for node in definition.nodes:
            if node.source is None or node.source.path is None:
                continue
            path = definition.folder / node.source.path
            found[node.source.path] = {
                "name": node.source.path,
                "type": node.type.value if node.type else None,
                "source": node.source.path,
                "function": _function(path) if path.suffix == ".py" else None,
                "inputs": {name: {} for name in node.inputs},
            }
        return found


def _function(path: Path) -> str | None:
    """The name of the function that ``@tool`` marks, read without importing the file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    for item in tree.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in item.decorator_list:
                name = mark.func if isinstance(mark, ast.Call) else mark
                if (name.id if isinstance(name, ast.Name) else getattr(name, "attr", "")) == "tool":
                    return item.name
    return None
