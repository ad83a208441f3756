from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptflow.cli.migrate import Entry, Verdict, check
from tests.promptflow.cli.conftest import Pf

FLEX = "entry: program:run\n"
PROMPTY = """---
name: hello
model:
  api: chat
  configuration: {type: azure_openai, connection: mine, azure_deployment: gpt}
inputs:
  q: {type: string}
---
# system:
Answer.
# user:
{{q}}
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def judged(project: Path, name: str) -> Entry:
    return next(entry for entry in check(project) if Path(entry.file).name == name)


def told(project: Path, name: str) -> tuple[str, str]:
    """(verdict, all messages) of one file."""
    entry = judged(project, name)
    return entry.verdict.text, "; ".join(f.message for f in entry.findings)


def test_a_project_that_runs_unchanged(project: Path) -> None:
    write(project, **{"hello.prompty": PROMPTY, "c.yaml": "name: c\ntype: custom\nsecrets: {a: b}\n"})
    write(project, **{"run.yaml": "flow: f\ndata: good.jsonl\ncolumn_mapping: {x: '${data.x}'}\n"})
    entries = {Path(e.file).name: e for e in check(project)}
    assert {name: (e.kind, e.verdict.text) for name, e in entries.items()} == {
        "a.py": ("python", "runs unchanged"),
        "c.yaml": ("connection", "runs unchanged"),
        "flow.dag.yaml": ("dag flow", "runs unchanged"),
        "hello.prompty": ("prompty", "runs unchanged"),
        "run.yaml": ("run", "runs unchanged"),
    }
    assert entries["hello.prompty"].connections == ("mine",)


@pytest.mark.parametrize(
    ("line", "verdict", "message"),
    [
        ("import json, os.path", "runs unchanged", ""),
        ("from promptflow.connections import AzureOpenAIConnection", "runs unchanged", ""),
        ("from promptflow._core.tool import ToolProvider", "runs unchanged", ""),
        ("from promptflow.azure import PFClient", "runs with a warning", "local workspace"),
        ("from promptflow import azure", "runs with a warning", "local workspace"),
        ("import no_such_package_at_all", "runs with a warning", "not installed"),
        ("def later():\n    import no_such_package_at_all", "runs with a warning", "not installed"),
        ("from promptflow_vectordb.core import X", "needs an edit", "closed package"),
        ("from promptflow.rag import build_index", "needs an edit", "Azure ML"),
        ("import pfazure", "needs an edit", "pfazure"),
        ("from promptflow.core import NoSuchName", "needs an edit", "promptflow.core.NoSuchName does not exist here"),
        ("import promptflow._sdk._no_such", "needs an edit", "promptflow._sdk._no_such does not exist here"),
        ("try:\n    import no_such_package\nexcept ImportError:\n    pass", "runs unchanged", ""),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import no_such", "runs unchanged", ""),
        ("def broken(:", "needs an edit", "Python cannot read"),
    ],
)
def test_imports_of_a_tool(project: Path, line: str, verdict: str, message: str) -> None:
    tool = (project / "f" / "a.py").read_text()
    write(project / "f", **{"a.py": f"{line}\n{tool}"})
    for name in ("a.py", "flow.dag.yaml"):
        found, messages = told(project, name)
        assert found == verdict, messages
        assert message in messages


def test_a_missing_package_is_named_with_its_line_and_the_pip_line(project: Path) -> None:
    write(project / "f", **{"a.py": "import json\nimport bs4x\n" + (project / "f" / "a.py").read_text()})
    finding = judged(project, "a.py").findings[0]
    assert (finding.line, finding.fix, finding.package) == (2, "pip install bs4x", "bs4x")


def test_imports_are_followed_into_the_project_but_not_out_of_it(project: Path) -> None:
    write(project / "f", **{"a.py": "import helper\n" + (project / "f" / "a.py").read_text()})
    write(project / "f", **{"helper.py": "import gone_package\n"})
    assert told(project, "flow.dag.yaml")[0] == "runs with a warning"
    # Found by sys.path at run time, perhaps: nobody is told to install a stranger's `far_away`.
    write(project / "f", **{"helper.py": "import far_away\n"})
    (project / "other").mkdir()
    write(project / "other", **{"far_away.py": ""})
    assert told(project, "flow.dag.yaml")[0] == "runs unchanged"


@pytest.mark.parametrize(
    ("old", "new", "verdict", "message"),
    [
        ("path: a.py", "path: b.py", "needs an edit", "there is no file b.py"),
        ("${inputs.x}", "${inputs.y}", "needs an edit", "not defined"),
        ("inputs:\n  x", "language: csharp\ninputs:\n  x", "needs an edit", "csharp"),
        ("inputs:\n  x", "mood: good\ninputs:\n  x", "runs with a warning", "Unknown key 'mood'"),
        ("type: code, path: a.py", "type: package, tool: mine.a.b", "runs with a warning", "no installed package"),
        ("type: code, path: a.py", "type: package, tool: promptflow.tools.llm.lm", "needs an edit", "there is no tool"),
        ("type: code, path: a.py", "type: package, tool: promptflow_vectordb.tool.x.y", "needs an edit", "closed"),
        ("inputs:\n  x", "additional_includes: [../gone]\ninputs:\n  x", "needs an edit", "../gone"),
        ("inputs:\n  x", "inputs:\n\tx", "needs an edit", ""),
    ],
)
def test_dag_flows(project: Path, old: str, new: str, verdict: str, message: str) -> None:
    flow = (project / "f" / "flow.dag.yaml").read_text()
    assert old in flow
    write(project / "f", **{"flow.dag.yaml": flow.replace(old, new)})
    found, messages = told(project, "flow.dag.yaml")
    assert found == verdict, messages
    assert message in messages


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("def echo(x): ...", "0 functions under @tool"),
        ("from promptflow.core import tool\n@tool\ndef a(x): ...\n@tool\ndef b(x): ...", "2 functions under @tool"),
    ],
)
def test_a_tool_file_has_one_tool(project: Path, tool: str, message: str) -> None:
    write(project / "f", **{"a.py": tool})
    found, messages = told(project, "flow.dag.yaml")
    assert (found, message in messages) == ("needs an edit", True)


@pytest.mark.parametrize(
    ("yaml", "program", "verdict"),
    [
        (FLEX, "def run(a: str) -> str: ...", "runs unchanged"),
        (FLEX, "class run:\n    def __call__(self, a: str): ...", "runs unchanged"),
        (FLEX, "from elsewhere_in_here import *\n", "runs with a warning"),
        (FLEX, "def other(): ...", "needs an edit"),
        (FLEX, "def run(a) -> dict: ...", "needs an edit"),
        (FLEX + "nodes: []\n", "def run(): ...", "needs an edit"),
        ("entry: gone:run\n", "def run(): ...", "needs an edit"),
        ("entry: program\n", "def run(): ...", "needs an edit"),
    ],
)
def test_flex_flows(tmp_path: Path, yaml: str, program: str, verdict: str) -> None:
    write(tmp_path, **{"flow.flex.yaml": yaml, "program.py": program})
    assert told(tmp_path, "flow.flex.yaml")[0] == verdict


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("{{q}}", "{% if q %}", "needs an edit"),
        ("connection: mine,", "connection: mine, api_key: x,", "needs an edit"),
        ("  configuration", "  configuraton", "needs an edit"),
        ("{type: azure_openai, connection: mine, azure_deployment: gpt}", "${file:model.json}", "runs unchanged"),
        ("{type: azure_openai, connection: mine, azure_deployment: gpt}", "${file:gone.json}", "needs an edit"),
    ],
)
def test_prompties(tmp_path: Path, old: str, new: str, verdict: str) -> None:
    write(tmp_path, **{"h.prompty": PROMPTY.replace(old, new), "model.json": '{"type": "openai", "model": "m"}'})
    found, messages = told(tmp_path, "h.prompty")
    assert found == verdict, messages


@pytest.mark.parametrize(
    ("name", "text", "verdict", "message"),
    [
        ("r.yaml", "flow: f\ndata: gone.jsonl\n", "needs an edit", "gone.jsonl does not exist"),
        ("r.yaml", "flow: f\ndata: azureml:x:1\n", "needs an edit", "lies in the cloud"),
        ("r.yaml", "flow: f\ndata: good.jsonl\nresources: {a: b}\n", "runs with a warning", "Azure ML"),
        ("r.yaml", "flow: f\ndata: good.jsonl\nmoood: x\n", "runs with a warning", "unknown key"),
        ("c.yaml", "name: c\ntype: azure_open_ai\napi_key: k\n", "needs an edit", "lacks api_base"),
        ("c.yaml", "name: c\ntype: banana\napi_key: k\n", "needs an edit", "not supported"),
        (
            "c.yaml",
            "name: c\ntype: custom\ncustom_type: X\nmodule: gone.x\nsecrets: {a: b}\n",
            "runs with a warning",
            "gone",
        ),
        ("requirements.txt", "promptflow-tools\npromptflow-azure>=1.5\n", "needs an edit", "writes over"),
        ("requirements.txt", "promptflow==1.18.5\n", "needs an edit", "promptflow ==1.18.5"),
        ("deploy.sh", "pip install 'promptflow-devkit'\n", "needs an edit", "writes over"),
        ("deploy.sh", "pfazure run create -f run.yml\n", "needs an edit", "pfazure"),
    ],
)
def test_other_files(project: Path, name: str, text: str, verdict: str, message: str) -> None:
    write(project, **{name: text})
    found, messages = told(project, name)
    assert found == verdict, messages
    assert message in messages


@pytest.mark.parametrize(
    "text",
    [
        "promptflow>=1.6\n",
        "promptflow[azure]\n",
        "promptflow-tools==1.6\n",
        "# promptflow-azure\n",
        "promptflow>=1,<3\n",
    ],
)
def test_requirements_that_are_fine(project: Path, text: str) -> None:
    write(project, **{"requirements.txt": text})
    assert "requirements.txt" not in {Path(e.file).name for e in check(project)}


def test_notebooks_of_prompt_flow_are_read(project: Path) -> None:
    cell = {"cell_type": "code", "source": ["%pip install x\n", "from promptflow.azure import PFClient\n"]}
    write(project, **{"n.ipynb": json.dumps({"cells": [cell, {"cell_type": "markdown", "source": ["x"]}]})})
    assert told(project, "n.ipynb")[0] == "runs with a warning"


def test_hidden_folders_and_environments_are_left_out(project: Path) -> None:
    for folder in (".hidden", "env_of_mine"):
        (project / folder).mkdir()
        write(project / folder, **{"bad.py": "import promptflow.rag\n"})
    write(project / "env_of_mine", **{"pyvenv.cfg": ""})
    assert all(entry.verdict is Verdict.UNCHANGED for entry in check(project))


def test_nothing_is_run(project: Path) -> None:
    write(project / "f", **{"a.py": "raise SystemExit('ran')\n" + (project / "f" / "a.py").read_text()})
    assert told(project, "flow.dag.yaml")[0] == "runs unchanged"


def test_the_verb_tells_file_line_and_fix_and_exits_3(pf: Pf, project: Path) -> None:
    assert pf("migrate", "check", ".")[0] == 0
    write(project / "f", **{"a.py": "import os\nfrom promptflow.rag import x\n" + (project / "f" / "a.py").read_text()})
    code, out, err = pf("migrate", "check", ".")
    assert code == 3
    assert "a.py:2" in out
    assert err.strip() == "0 run unchanged, 0 run with a warning, 2 need an edit"
    found = json.loads(pf("migrate", "check", "f", "-o", "json")[1])
    assert found["summary"]["needs an edit"] == 2
    assert {f["line"] for entry in found["entries"] for f in entry["findings"]} == {2}
    assert pf("migrate", "check", "nowhere")[0] == 1
