"""The tools that come with the package, by the ids that flows name them by, and their callables.

Their ids say ``promptflow.tools…``, where another wheel may put files of its own; what runs is always ours.
"""

from __future__ import annotations

import importlib
from typing import Any

from promptflow.exceptions import PackageToolNotFoundError

Meta = dict[str, Any]

_ANY_MODEL = ["AzureOpenAIConnection", "OpenAIConnection", "ServerlessConnection"]
_VISION_MODEL = ["AzureOpenAIConnection", "OpenAIConnection"]


def _input(*types: str, **more: Any) -> Meta:
    return {"type": list(types), **more}


def _for_connections(*connections: str) -> Meta:
    """An input that an editor shows for these kinds of connection only."""
    return {"enabled_by": "connection", "enabled_by_type": list(connections), "allow_manual_entry": True}


def _for_api(api: str) -> Meta:
    return {"enabled_by": "api", "enabled_by_value": [api]}


_SAMPLING: Meta = {
    "temperature": _input("double", default=1),
    "top_p": _input("double", default=1),
    "stop": _input("list", default=""),
    "max_tokens": _input("int", default=""),
}
_VISION: Meta = {
    **_SAMPLING,
    "presence_penalty": _input("double", default=0),
    "frequency_penalty": _input("double", default=0),
    "seed": _input("int", default=""),
    "detail": _input("string", enum=["low", "high", "auto"], default="auto"),
}
_SENSITIVITY = _input(
    "string",
    default="medium_sensitivity",
    enum=["disable", "low_sensitivity", "medium_sensitivity", "high_sensitivity"],
)
_VISION_PROMPT = (
    "# system:\nYou look at images and answer questions about what they show.\n\n"
    "# user:\nWhat does the image show?\n![image]({{image_input}})\n"
)

BUILTIN_TOOLS: dict[str, Meta] = {
    "promptflow.tools.llm.llm": {
        "name": "LLM",
        "description": "Ask a language model, by chat or text completion.",
        "type": "custom_llm",
        "module": "promptflow.tools.llm",
        "function": "llm",
        "category": "llm",
        "default_prompt": "# system:\nYou are a helpful assistant.\n\n# user:\n{{question}}\n",
        "inputs": {
            "connection": _input(*_ANY_MODEL),
            "api": _input("string", default="chat", enum=["chat", "completion"]),
            "deployment_name": _input("string", **_for_connections("AzureOpenAIConnection")),
            "model": _input("string", **_for_connections("OpenAIConnection", "ServerlessConnection")),
            **_SAMPLING,
            "presence_penalty": _input("double", default=""),
            "frequency_penalty": _input("double", default=""),
            "logit_bias": _input("object", default=""),
            "response_format": _input("object", default="", **_for_api("chat")),
            "seed": _input("int", default="", **_for_api("chat")),
            "tools": _input("list", default=[], **_for_api("chat")),
            "tool_choice": _input("object", "string", default="", **_for_api("chat")),
            "suffix": _input("string", default="", **_for_api("completion")),
            "logprobs": _input("int", default="", **_for_api("completion")),
            "echo": _input("bool", default=False, **_for_api("completion")),
            "best_of": _input("int", default=1, **_for_api("completion")),
        },
    },
    "promptflow.tools.llm_vision.llm_vision": {
        "name": "LLM-Vision",
        "description": "Ask a language model that looks at images.",
        "type": "custom_llm",
        "module": "promptflow.tools.llm_vision",
        "function": "llm_vision",
        "category": "llm",
        "tool_state": "preview",
        "default_prompt": _VISION_PROMPT,
        "inputs": {
            "connection": _input(*_VISION_MODEL),
            "deployment_name": _input("string", **_for_connections("AzureOpenAIConnection")),
            "model": _input("string", **_for_connections("OpenAIConnection")),
            **_VISION,
        },
    },
    "promptflow.tools.aoai_gpt4v.AzureOpenAI.chat": {
        "name": "Azure OpenAI GPT-4 Turbo with Vision",
        "description": "Ask a model on Azure OpenAI that looks at images.",
        "type": "custom_llm",
        "module": "promptflow.tools.aoai_gpt4v",
        "class_name": "AzureOpenAI",
        "function": "chat",
        "tool_state": "preview",
        "default_prompt": _VISION_PROMPT,
        "inputs": {
            "connection": _input("AzureOpenAIConnection"),
            "deployment_name": _input("string", **_for_connections("AzureOpenAIConnection")),
            **_VISION,
            "max_tokens": _input("int", default=512),
        },
    },
    "promptflow.tools.openai_gpt4v.OpenAI.chat": {
        "name": "OpenAI GPT-4V",
        "description": "Ask a model on OpenAI that looks at images.",
        "type": "custom_llm",
        "module": "promptflow.tools.openai_gpt4v",
        "class_name": "OpenAI",
        "function": "chat",
        "tool_state": "preview",
        "default_prompt": _VISION_PROMPT,
        "inputs": {
            "connection": _input("OpenAIConnection"),
            "model": _input("string", enum=["gpt-4-vision-preview"], allow_manual_entry=True),
            **_VISION,
            "max_tokens": _input("int", default=512),
        },
    },
    "promptflow.tools.open_model_llm.OpenModelLLM.call": {
        "name": "Open Model LLM",
        "description": "Ask an open-weight model behind an OpenAI-compatible server.",
        "type": "custom_llm",
        "module": "promptflow.tools.open_model_llm",
        "class_name": "OpenModelLLM",
        "function": "call",
        "inputs": {
            "endpoint_name": _input("string", allow_manual_entry=True),
            "deployment_name": _input("string", default="", allow_manual_entry=True),
            "api": _input("string", enum=["chat", "completion"]),
            "temperature": _input("double", default=1.0),
            "max_new_tokens": _input("int", default=500),
            "top_p": _input("double", default=1.0, advanced=True),
            "model_kwargs": _input("object", default="{}", advanced=True),
        },
    },
    "promptflow.tools.embedding.embedding": {
        "name": "Embedding",
        "description": "The embedding vector of a text.",
        "type": "python",
        "module": "promptflow.tools.embedding",
        "function": "embedding",
        "inputs": {
            "connection": _input(*_ANY_MODEL),
            "deployment_name": _input("string", **_for_connections("AzureOpenAIConnection")),
            "model": _input("string", **_for_connections("OpenAIConnection", "ServerlessConnection")),
            "input": _input("string"),
        },
    },
    "promptflow_vectordb.tool.common_index_lookup.search": {
        "name": "Index Lookup",
        "description": "Find the texts of an index that are nearest to a question.",
        "type": "python",
        "module": "promptflow_vectordb.tool.common_index_lookup",
        "function": "search",
        "inputs": {
            "mlindex_content": _input("string"),
            "queries": _input("object"),
            "top_k": _input("int", default=3),
            "query_type": _input("string", default="Vector"),
        },
    },
    "promptflow_vectordb.tool.vector_index_lookup.VectorIndexLookup.search": {
        "name": "Vector Index Lookup",
        "description": "Find the texts of an index that are nearest to a text or vector.",
        "type": "python",
        "module": "promptflow_vectordb.tool.vector_index_lookup",
        "class_name": "VectorIndexLookup",
        "function": "search",
        "inputs": {
            "path": _input("string"),
            "query": _input("list", "string"),
            "top_k": _input("int", default=3),
        },
    },
    "promptflow_vectordb.tool.faiss_index_lookup.FaissIndexLookup.search": {
        "name": "Faiss Index Lookup",
        "description": "Find the texts of an index that are nearest to a vector.",
        "type": "python",
        "module": "promptflow_vectordb.tool.faiss_index_lookup",
        "class_name": "FaissIndexLookup",
        "function": "search",
        "inputs": {"path": _input("string"), "vector": _input("list"), "top_k": _input("int", default=3)},
    },
    "promptflow.tools.serpapi.SerpAPI.search": {
        "name": "Serp API",
        "description": "Search the web with SerpApi.",
        "type": "python",
        "module": "promptflow.tools.serpapi",
        "class_name": "SerpAPI",
        "function": "search",
        "inputs": {
            "connection": _input("SerpConnection"),
            "query": _input("string"),
            "engine": _input("string", default="google", enum=["google", "bing"]),
            "location": _input("string", default=""),
            "num": _input("int", default="10"),
            "safe": _input("string", default="off", enum=["active", "off"]),
        },
    },
    "promptflow.tools.azure_content_safety.analyze_text": {
        "name": "Content Safety (Text Analyze)",
        "description": "Find harmful content with Azure AI Content Safety.",
        "type": "python",
        "module": "promptflow.tools.azure_content_safety",
        "function": "analyze_text",
        "deprecated_tools": ["content_safety_text.tools.content_safety_text_tool.analyze_text"],
        "inputs": {
            "connection": _input("AzureContentSafetyConnection"),
            "text": _input("string"),
            "hate_category": _SENSITIVITY,
            "self_harm_category": _SENSITIVITY,
            "sexual_category": _SENSITIVITY,
            "violence_category": _SENSITIVITY,
        },
    },
}

# Tools that flows name without finding them in a list: the two LLM providers, and their plain functions.
_CALLABLES = {
    "promptflow.tools.llm.llm": "promptflow.llm.any_model:llm",
    "promptflow.tools.llm_vision.llm_vision": "promptflow.llm.any_model:llm_vision",
    "promptflow.tools.aoai_gpt4v.AzureOpenAI.chat": "promptflow.llm.vision_providers:AzureOpenAI.chat",
    "promptflow.tools.openai_gpt4v.OpenAI.chat": "promptflow.llm.vision_providers:OpenAI.chat",
    "promptflow.tools.open_model_llm.OpenModelLLM.call": "promptflow.llm.open_model:OpenModelLLM.call",
    "promptflow.tools.embedding.embedding": "promptflow.llm.embedding:embedding",
    "promptflow_vectordb.tool.common_index_lookup.search": "promptflow.index.lookup:search",
    "promptflow_vectordb.tool.vector_index_lookup.VectorIndexLookup.search": (
        "promptflow.index.lookup:VectorIndexLookup.search"
    ),
    "promptflow_vectordb.tool.faiss_index_lookup.FaissIndexLookup.search": (
        "promptflow.index.lookup:FaissIndexLookup.search"
    ),
    "promptflow.tools.serpapi.SerpAPI.search": "promptflow.llm.search:SerpAPI.search",
    "promptflow.tools.azure_content_safety.analyze_text": "promptflow.llm.content_safety:analyze_text",
    "promptflow.tools.aoai.AzureOpenAI.chat": "promptflow.llm.providers:AzureOpenAI.chat",
    "promptflow.tools.aoai.AzureOpenAI.completion": "promptflow.llm.providers:AzureOpenAI.completion",
    "promptflow.tools.openai.OpenAI.chat": "promptflow.llm.providers:OpenAI.chat",
    "promptflow.tools.openai.OpenAI.completion": "promptflow.llm.providers:OpenAI.completion",
}


def resolve(tool_id: str) -> Any:
    """The function, or the method of a `ToolProvider` class, that a tool id stands for."""
    where = _CALLABLES.get(tool_id)
    if where is None:
        raise PackageToolNotFoundError(f"Package tool '{tool_id}' is not one of the package's own.")
    module, _, path = where.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found
