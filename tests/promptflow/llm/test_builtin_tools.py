from __future__ import annotations

import inspect

import pytest

from promptflow.contracts.tool import ToolType
from promptflow.exceptions import PackageToolNotFoundError
from promptflow.llm.builtin_tools import BUILTIN_TOOLS, resolve
from promptflow.tooling.decorator import original
from promptflow.tooling.meta import prompt_parameter
from promptflow.tooling.registry import parse_meta

IDS = [
    "promptflow.tools.aoai_gpt4v.AzureOpenAI.chat",
    "promptflow.tools.azure_content_safety.analyze_text",
    "promptflow.tools.embedding.embedding",
    "promptflow.tools.llm.llm",
    "promptflow.tools.llm_vision.llm_vision",
    "promptflow.tools.open_model_llm.OpenModelLLM.call",
    "promptflow.tools.openai_gpt4v.OpenAI.chat",
    "promptflow.tools.serpapi.SerpAPI.search",
    "promptflow_vectordb.tool.common_index_lookup.search",
    "promptflow_vectordb.tool.faiss_index_lookup.FaissIndexLookup.search",
    "promptflow_vectordb.tool.vector_index_lookup.VectorIndexLookup.search",
]


def test_the_ids_are_those_that_flows_name() -> None:
    assert sorted(BUILTIN_TOOLS) == IDS


@pytest.mark.parametrize("tool_id", IDS)
def test_what_a_tool_lists_is_what_its_function_takes(tool_id: str) -> None:
    meta = BUILTIN_TOOLS[tool_id]
    function = original(resolve(tool_id))
    parameters = inspect.signature(function).parameters
    inputs = set(meta["inputs"]) - ({"connection", "path"} if meta.get("class_name") else set())
    assert inputs <= set(parameters)
    assert tool_id == ".".join(filter(None, (meta["module"], meta.get("class_name"), meta["function"])))
    if meta["type"] == "custom_llm":
        assert prompt_parameter(resolve(tool_id)) == "prompt"


@pytest.mark.parametrize("tool_id", IDS)
def test_the_lists_are_read_by_the_registry(tool_id: str) -> None:
    tool = parse_meta(BUILTIN_TOOLS[tool_id])
    assert tool.type in (ToolType.PYTHON, ToolType.CUSTOM_LLM) and tool.inputs


def test_nothing_of_ours_runs_from_the_folder_that_another_wheel_fills() -> None:
    assert all(
        original(resolve(tool_id)).__module__.startswith(("promptflow.llm.", "promptflow.index.")) for tool_id in IDS
    )


def test_an_unknown_id_is_an_error() -> None:
    with pytest.raises(PackageToolNotFoundError):
        resolve("promptflow.tools.nope.nope")
