"""Tool ids -> tools: ours under Microsoft's ids, then those of installed packages (entry points ``package_tools``)."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from promptflow.contracts.tool import InputDefinition, Tool, ToolType, ValueType
from promptflow.exceptions import PackageToolNotFoundError, ToolLoadError
from promptflow.llm.builtin_tools import BUILTIN_TOOLS, resolve

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "package_tools"


@dataclass(frozen=True)
class PackageTool:
    """A tool by id: its description, and ``load()`` for the function or the provider class's method."""

    id: str
    tool: Tool
    meta: dict[str, Any]
    load: Callable[[], Any]
    package: str = "promptflow"
    package_version: str = ""


def package_tool(tool_id: str) -> PackageTool:
    """The tool with this id, or the one that took over a deprecated id. Raises PackageToolNotFoundError."""
    meta = BUILTIN_TOOLS.get(tool_id)
    if meta is not None:
        return PackageTool(tool_id, parse_meta(meta), meta, functools.partial(resolve, tool_id))
    installed = installed_tools()
    if tool_id in installed:
        return installed[tool_id]
    for candidate in installed.values():
        if tool_id in (candidate.meta.get("deprecated_tools") or []):
            return candidate
    known = sorted({*BUILTIN_TOOLS, *installed})
    raise PackageToolNotFoundError(
        f"Package tool '{tool_id}' is not found in the current environment. All available package tools are: {known}.",
        hint="pip install the package that provides it, in this environment",
    )


def all_tools() -> dict[str, PackageTool]:
    """Every package tool of this environment, ours first."""
    return {**installed_tools(), **{tool_id: package_tool(tool_id) for tool_id in BUILTIN_TOOLS}}


@functools.cache
def installed_tools() -> dict[str, PackageTool]:
    """Tools of other installed packages. A package that cannot be read is a warning, not an error."""
    import importlib.metadata

    tools: dict[str, PackageTool] = {}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        package = entry_point.dist.name if entry_point.dist else "?"
        version = entry_point.dist.version if entry_point.dist else ""
        try:
            listed = entry_point.load()()
        except Exception as error:
            logger.warning("Tools of package %s cannot be listed: %s: %s", package, type(error).__name__, error)
            continue
        for tool_id, meta in listed.items():
            load = functools.partial(_load_installed, tool_id, meta)
            tools[tool_id] = PackageTool(tool_id, parse_meta(meta), meta, load, package, version)
    return tools


def parse_meta(meta: dict[str, Any]) -> Tool:
    """A tool's description as packages write it (YAML or dict) -> Tool."""
    inputs = {}
    for name, item in (meta.get("inputs") or {}).items():
        kinds = item.get("type") or ["object"]
        kinds = [kinds] if isinstance(kinds, str) else kinds
        inputs[name] = InputDefinition(
            type=tuple(_value_type(kind) for kind in kinds),
            default=item.get("default"),
            has_default="default" in item,
            description=item.get("description") or "",
            enum=tuple(item.get("enum") or ()),
            custom_type=tuple(item.get("custom_type") or ()),
        )
    return Tool(
        name=meta.get("name", ""),
        type=ToolType(meta.get("type", "python")),
        inputs=inputs,
        description=meta.get("description") or "",
        module=meta.get("module"),
        class_name=meta.get("class_name"),
        function=meta.get("function"),
        enable_kwargs=bool(meta.get("enable_kwargs", False)),
    )


def _value_type(kind: str) -> ValueType | str:
    try:
        return ValueType(kind.lower())
    except ValueError:
        return kind


def _load_installed(tool_id: str, meta: dict[str, Any]) -> Any:
    try:
        module = importlib.import_module(meta["module"])
        owner = getattr(module, meta["class_name"]) if meta.get("class_name") else module
        return getattr(owner, meta["function"])
    except Exception as error:
        raise ToolLoadError(f"Failed to load package tool '{tool_id}': ({type(error).__name__}) {error}") from error
