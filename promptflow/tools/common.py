"""Door: what tools of others import to render prompts and split them into messages."""

from collections.abc import Iterable
from typing import Any

from promptflow.llm.chat_parameters import check_functions as validate_functions
from promptflow.llm.chat_parameters import check_tools as validate_tools
from promptflow.llm.chat_parameters import checked_function_call as process_function_call
from promptflow.llm.chat_parameters import checked_tool_choice as process_tool_choice
from promptflow.llm.chat_parameters import is_true as to_bool
from promptflow.llm.messages import Message, find_images, parse_tool_calls
from promptflow.llm.messages import build_messages as _build_messages
from promptflow.llm.messages import image_lines as preprocess_template_string
from promptflow.llm.messages import parse_chat as _parse_chat
from promptflow.llm.roles import ROLES as VALID_ROLES
from promptflow.llm.roles import ChatInputList, PromptResult
from promptflow.llm.roles import as_chat_list as convert_to_chat_list
from promptflow.llm.sdk_client import azure_openai_client as init_azure_openai_client
from promptflow.llm.sdk_client import client_arguments as normalize_connection_config
from promptflow.llm.sdk_client import openai_client as init_openai_client
from promptflow.llm.sdk_errors import handle_openai_error
from promptflow.tooling.decorator import INPUTS_TO_ESCAPE_PARAM_KEY
from promptflow.tooling.render import render

try_parse_tool_calls = parse_tool_calls

__all__ = [
    "INPUTS_TO_ESCAPE_PARAM_KEY",
    "VALID_ROLES",
    "ChatInputList",
    "PromptResult",
    "build_messages",
    "convert_to_chat_list",
    "find_referenced_image_set",
    "handle_openai_error",
    "init_azure_openai_client",
    "init_openai_client",
    "normalize_connection_config",
    "parse_chat",
    "preprocess_template_string",
    "process_function_call",
    "process_tool_choice",
    "render_jinja_template",
    "to_bool",
    "try_parse_tool_calls",
    "validate_functions",
    "validate_tools",
]


def render_jinja_template(
    template_content: str, trim_blocks: bool = True, keep_trailing_newline: bool = True, **kwargs: Any
) -> str:
    kwargs.pop("escape_dict", None)
    return render(template_content, kwargs, trim_blocks, keep_trailing_newline)


def parse_chat(
    chat_str: str, images: Iterable[Any] | None = None, image_detail: str = "auto", **_: Any
) -> list[Message]:
    return _parse_chat(chat_str, images, image_detail)


def build_messages(
    prompt: str, images: Iterable[Any] | None = None, image_detail: str = "auto", **kwargs: Any
) -> list[Message]:
    outside = kwargs.pop(INPUTS_TO_ESCAPE_PARAM_KEY, None) or ()
    return _build_messages(prompt, kwargs, outside=outside, detail=image_detail, images=images or ())


def find_referenced_image_set(kwargs: dict[str, Any]) -> set[Any]:
    return set(find_images(kwargs))
