"""The public names of Prompt flow 1.18.5, where users' code imports them."""

import importlib
import subprocess
import sys

import pytest

NAMES = {
    "promptflow": "PFClient ToolProvider load_flow load_run log_metric log_flow_metric tool __version__",
    "promptflow.core": "tool ToolProvider log_metric Flow AsyncFlow Prompty AsyncPrompty ModelConfiguration "
    "OpenAIModelConfiguration AzureOpenAIModelConfiguration",
    "promptflow.core._flow": "Flow AsyncFlow Prompty AsyncPrompty",
    "promptflow.client": "PFClient load_flow load_run",
    "promptflow.entities": "AzureContentSafetyConnection AzureOpenAIConnection OpenAIConnection CustomConnection "
    "CognitiveSearchConnection SerpConnection QdrantConnection FormRecognizerConnection Run InputSetting DynamicList "
    "FlowContext",
    "promptflow.connections": "AzureOpenAIConnection OpenAIConnection ServerlessConnection SerpConnection "
    "QdrantConnection WeaviateConnection CognitiveSearchConnection AzureAIServicesConnection "
    "AzureContentSafetyConnection FormRecognizerConnection CustomConnection CustomStrongTypeConnection",
    "promptflow.tracing": "trace start_trace ThreadPoolExecutorWithContext",
    "promptflow.tracing.contracts.trace": "Trace TraceType",
    "promptflow.contracts.multimedia": "Image PFBytes Text",
    "promptflow.contracts.types": "Secret PromptTemplate FilePath AssistantDefinition",
    "promptflow.contracts.run_info": "Status FlowRunInfo RunInfo",
    "promptflow.contracts.run_mode": "RunMode",
    "promptflow.contracts.tool": "ToolType ValueType InputDefinition Tool",
    "promptflow.contracts.flow": "Flow Node",
    "promptflow.exceptions": "PromptflowException UserErrorException SystemErrorException ValidationException ErrorTarget",
    "promptflow.executor": "FlowExecutor",
    "promptflow.executor.flow_executor": "FlowExecutor",
    "promptflow.executor._assistant_tool_invoker": "AssistantToolInvoker",
    "promptflow.batch": "BatchEngine",
    "promptflow._core.tool": "tool ToolProvider InputSetting DynamicList INPUTS_TO_ESCAPE_PARAM_KEY",
    "promptflow._internal": "tool ToolProvider register_apis enable_cache",
    "promptflow._sdk.entities": "AzureOpenAIConnection Run",
    "promptflow._cli._utils": "get_workspace_triad_from_local",
    "promptflow.integrations.langchain": "PromptFlowCallbackHandler",
    "promptflow.tools.aoai": "AzureOpenAI chat completion",
    "promptflow.tools.openai": "OpenAI chat completion",
    "promptflow.tools.common": "parse_chat render_jinja_template handle_openai_error",
    "promptflow.tools.embedding": "embedding",
    "promptflow.tools.serpapi": "SerpAPI",
}


@pytest.mark.parametrize("module", NAMES)
def test_every_public_name_answers(module):
    if module.endswith("langchain"):
        pytest.importorskip("langchain_core")
    found = importlib.import_module(module)

    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


def test_names_that_never_were_are_not_there():
    import promptflow.client
    import promptflow.entities

    assert not hasattr(promptflow.client, "load_connection")
    assert not hasattr(promptflow.entities, "ServerlessConnection")


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(m.partition('.')[0] for m in sys.modules))"
    out = subprocess.run([sys.executable, "-S", "-c", path_of() + script], capture_output=True, text=True, check=True)
    return set(out.stdout.split())


def path_of() -> str:
    return f"import sys; sys.path[:] = {sys.path!r}\n"


@pytest.mark.parametrize("code", ["from promptflow.core import tool", "from promptflow import tool"])
def test_importing_the_tool_decorator_loads_only_the_standard_library(code):
    strangers = modules_after(code) - modules_after("") - set(sys.stdlib_module_names)

    assert strangers == {"promptflow"}


def test_importing_the_client_loads_nothing_heavy():
    loaded = modules_after("from promptflow.client import PFClient, load_flow")

    assert loaded.isdisjoint(
        {"sqlalchemy", "alembic", "pandas", "aiohttp", "jinja2", "rich", "fastapi", "cryptography"}
    )
