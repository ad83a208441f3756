"""Door: errors of tools."""

from promptflow.exceptions import (
    AzureContentSafetyInputValueError,
    AzureContentSafetySystemError,
    ChatAPIFunctionRoleInvalidFormat,
    ChatAPIInvalidFunctions,
    ChatAPIInvalidRole,
    ChatAPIInvalidTools,
    ChatAPIToolRoleInvalidFormat,
    ExceedMaxRetryTimes,
    FunctionCallNotSupportedInStreamMode,
    JinjaTemplateError,
    LLMError,
    OpenModelLLMUserError,
    SerpAPISystemError,
    SerpAPIUserError,
    ToolValidationError,
    WrappedOpenAIError,
)
from promptflow.exceptions import InvalidModelConnection as InvalidConnectionType

__all__ = [
    "AzureContentSafetyInputValueError",
    "AzureContentSafetySystemError",
    "ChatAPIFunctionRoleInvalidFormat",
    "ChatAPIInvalidFunctions",
    "ChatAPIInvalidRole",
    "ChatAPIInvalidTools",
    "ChatAPIToolRoleInvalidFormat",
    "ExceedMaxRetryTimes",
    "FunctionCallNotSupportedInStreamMode",
    "InvalidConnectionType",
    "JinjaTemplateError",
    "LLMError",
    "OpenModelLLMUserError",
    "SerpAPISystemError",
    "SerpAPIUserError",
    "ToolValidationError",
    "WrappedOpenAIError",
]
