"""Life in one environment with Microsoft's wheels, in every order of installation."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.fake_model import ModelServer
from tests.packaging import flows
from tests.packaging.conftest import MICROSOFTS
from tests.packaging.environments import Environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def outputs_of(environment: Environment, folder: Path, server: ModelServer) -> dict:
    """The outputs of the flow with tools, its connections coming from the environment."""
    flows.write(folder, flows.TOOLS)
    done = environment.pf(
        "flow", "test", "--flow", folder,
        MODEL_API_KEY="k", MODEL_BASE_URL=f"{server.url}/v1",
        SERP_TYPE="serp", SERP_API_KEY="k", SERPAPI_URL=f"{server.url}/search",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def is_microsofts(environment: Environment, module: str) -> bool:
    """Whether the file of ``promptflow.<module>`` is the one of Microsoft's wheel: ours are much shorter."""
    text = (environment.site_packages / "promptflow" / module).read_text(encoding="utf-8")
    return not text.startswith('"""Door')


OUTPUTS = {
    "answer": "why",
    "vector": [0.5, -0.25],
    "own": {
        "said": "why",
        "rendered": "why!",
        "refused": "ChatAPIInvalidRole",
        "classes": ["AzureOpenAI", "OpenAI"],
    },
}


@pytest.mark.parametrize("order", ["base", "with_tools", "upgraded"])
def test_flows_with_tools_run_whoever_was_installed_first(order, request, tmp_path, model_server):
    outputs = outputs_of(request.getfixturevalue(order), tmp_path / "flow", model_server)

    assert set(outputs.pop("found")) >= {"choices"}
    assert outputs == OUTPUTS


def test_the_tools_that_a_flow_names_are_ours_wherever_microsofts_lie(with_tools):
    code = "from promptflow.tooling.registry import package_tool\nprint(package_tool('{}').load().__module__)"

    for tool_id in ("promptflow.tools.embedding.embedding", "promptflow.tools.serpapi.SerpAPI.search"):
        assert with_tools.code(code.format(tool_id)).startswith("promptflow.llm.")


def test_promptflow_tools_is_content_with_ours(with_tools):
    versions = with_tools.versions()

    assert versions["promptflow"].startswith("2.")
    assert "promptflow-tools" in versions
    assert {"promptflow-core", "promptflow-devkit", "promptflow-tracing"}.isdisjoint(versions)
    assert is_microsofts(with_tools, "tools/aoai.py")


def modules_of_tools(environment: Environment) -> list[str]:
    folder = environment.site_packages / "promptflow" / "tools"
    return sorted(f"promptflow.tools.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__")


def test_every_module_of_microsofts_tools_imports(with_tools):
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = with_tools.run("-c", code, *modules_of_tools(with_tools))

    assert done.returncode == 0, done.stderr


def test_every_name_that_microsofts_tools_import_from_us_answers(with_tools):
    folder = with_tools.site_packages / "promptflow" / "tools"
    wanted = {
        (str(node.module), alias.name)
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom)
        and str(node.module).startswith("promptflow.")
        # the cloud's, which those files do without
        and not str(node.module).startswith("promptflow.azure.operations")
        for alias in node.names
    }
    code = (
        "import importlib, json, sys\n"
        "pairs = json.loads(sys.argv[1])\n"
        "print([p for p in pairs if not hasattr(importlib.import_module(p[0]), p[1])])"
    )
    done = with_tools.run("-c", code, json.dumps(sorted(wanted)))

    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_the_functions_of_microsofts_tools_work_on_our_connections(with_tools, model_server):
    code = (
        "import sys\n"
        "from promptflow.connections import OpenAIConnection\n"
        "from promptflow.tools.embedding import embedding\n"
        "from promptflow.tools.openai import chat\n"
        "c = OpenAIConnection(api_key='k', base_url=sys.argv[1])\n"
        "print(chat(connection=c, prompt='user:\\nhi {{x}}', model='m', x='you'), embedding(c, 'hi', model='m'))"
    )
    done = with_tools.run("-c", code, f"{model_server.url}/v1")

    assert done.stdout.strip() == "hi you [0.5, -0.25]", done.stderr


def test_doctor_is_content_with_promptflow_tools(with_tools):
    checks = json.loads(with_tools.pf("doctor", "-o", "json").stdout)

    assert {check["state"] for check in checks} <= {"ok", "note"}


def test_without_promptflow_tools_again_flows_still_run(with_tools, wheel, place, tmp_path, model_server):
    """Uninstalling it takes our doors of the same names away; the tools that flows name stay."""
    environment = with_tools.copy(place / "without-tools")
    environment.uninstall("promptflow-tools")
    code = "from promptflow.tooling.registry import package_tool\npackage_tool('promptflow.tools.embedding.embedding').load()"
    assert environment.run("-c", code).returncode == 0

    environment.install("--no-deps", "--force-reinstall", wheel)
    assert outputs_of(environment, tmp_path / "flow", model_server)["own"] == OUTPUTS["own"]


def test_ours_installed_over_microsofts_works_in_every_public_module(upgraded):
    """`pip install -U promptflow` in an old environment leaves core, devkit and tracing there, with files beside ours."""
    code = (
        "import promptflow._internal as internal, promptflow.core as core\n"
        "from promptflow.batch import BatchEngine\n"
        "from promptflow.client import PFClient\n"
        "from promptflow.executor import FlowExecutor\n"
        "from promptflow.tracing import start_trace, trace\n"
        "core.tool, core.Flow, core.Prompty, internal.tool, internal.enable_cache"
    )
    done = upgraded.run("-c", code)

    assert done.returncode == 0, done.stderr
    assert {*MICROSOFTS, "promptflow-tools"} <= set(upgraded.versions())


@pytest.mark.parametrize("order", ["upgraded", "overwritten"])
def test_doctor_names_the_packages_that_write_over_ours(order, request):
    # `pf` on PATH is Microsoft's if devkit came last
    done = request.getfixturevalue(order).run("-m", "promptflow", "doctor")
    said = done.stdout + done.stderr

    assert done.returncode == 1
    assert "promptflow-core" in said
    assert "promptflow-devkit" in said
    assert "pip uninstall" in said
    assert "Traceback" not in said


def test_overwritten_files_are_the_message_and_not_a_traceback(overwritten, tmp_path):
    done = overwritten.pf("flow", "test", "--flow", flows.write(tmp_path / "flow", flows.PYTHON))

    assert done.returncode == 1
    assert "promptflow-core" in done.stderr
    assert "Traceback" not in done.stderr
