"""Door: the private spelling of the tool decorator that samples and tool packages import."""

from promptflow.contracts.tool import ToolType
from promptflow.tooling.decorator import (
    INPUTS_TO_ESCAPE_PARAM_KEY,
    STREAMING_OPTION_PARAMETER_ATTR,
    DynamicList,
    InputSetting,
    ToolProvider,
    tool,
)

TOOL_TYPE_TO_ESCAPE = [ToolType.LLM, ToolType.CUSTOM_LLM, ToolType.PROMPT]

__all__ = [
    "INPUTS_TO_ESCAPE_PARAM_KEY",
    "STREAMING_OPTION_PARAMETER_ATTR",
    "TOOL_TYPE_TO_ESCAPE",
    "DynamicList",
    "InputSetting",
    "ToolProvider",
    "ToolType",
    "tool",
]
