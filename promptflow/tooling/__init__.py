"""Tools: the decorator users write, and how a node finds and describes its tool."""

from promptflow.tooling.decorator import DynamicList, InputSetting, ToolProvider, tool

__all__ = ["DynamicList", "InputSetting", "ToolProvider", "tool"]
