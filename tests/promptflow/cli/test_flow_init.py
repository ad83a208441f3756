from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptflow.contracts.flow_yaml import load_flow_file
from tests.promptflow.cli.conftest import Pf

FUNCTION = """import json

raise_when_run = json.loads("[]")

def classify(text: str, prompt: str, n: int, *, loud: bool) -> str:
    answer = f"{prompt}: {text} {n + 1}"
    return answer.upper() if loud else answer
"""


@pytest.mark.parametrize("kind", ["standard", "evaluation", "chat"])
def test_every_template_is_a_valid_flow(pf: Pf, project: Path, kind: str) -> None:
    code, out, err = pf("flow", "init", "--flow", "mine", "--type", kind)
    assert code == 0
    assert out.strip() == str(project / "mine")
    flow = load_flow_file(project / "mine" / "flow.dag.yaml")
    assert flow.warnings == ()
    assert bool(flow.chat_input) is (kind == "chat")


def test_the_standard_template_runs(pf: Pf, project: Path) -> None:
    pf("flow", "init", "--flow", "mine")
    code, out, err = pf("flow", "test", "--flow", "mine", "--inputs", "mine/data.jsonl")
    assert code == 0
    assert "Hello!" in json.loads(out)["answer"]


def test_the_evaluation_template_measures(pf: Pf, project: Path) -> None:
    pf("flow", "init", "--flow", "mine", "--type", "evaluation")
    assert pf("run", "create", "--flow", "mine", "--data", "mine/data.jsonl")[0] == 0
    assert json.loads(pf("run", "show-metrics", "-n", "@latest")[1]) == {"accuracy": 0.5}


def test_nothing_is_overwritten_unasked(pf: Pf, project: Path) -> None:
    pf("flow", "init", "--flow", "mine")
    (project / "mine" / "shorten.py").write_text("mine\n", encoding="utf-8")
    code, out, err = pf("flow", "init", "--flow", "mine")
    assert code == 2
    assert "add -y" in err
    assert (project / "mine" / "shorten.py").read_text() == "mine\n"
    assert pf("flow", "init", "--flow", "mine", "-y")[0] == 0
    assert (project / "mine" / "shorten.py").read_text() != "mine\n"


def test_a_flow_around_a_function(pf: Pf, project: Path) -> None:
    folder = project / "mine"
    folder.mkdir()
    (folder / "intent.py").write_text(FUNCTION, encoding="utf-8")
    (folder / "p.jinja2").write_text("Say {{word}}", encoding="utf-8")
    words = ["--entry", "intent.py", "--function", "classify", "--prompt-template", "prompt=p.jinja2"]
    assert pf("flow", "init", "--flow", "mine", *words)[0] == 0
    inputs = ["text=this", "word=hi", "n=4", "loud=true"]
    assert json.loads(pf("flow", "test", "--flow", "mine", "--inputs", *inputs)[1]) == {"output": "SAY HI: THIS 5"}


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["--entry", "intent.py"], 2, "go together"),
        (["--entry", "intent.py", "--function", "clasify"], 1, "did you mean classify?"),
        (["--entry", "intent.py", "--function", "classify", "--prompt-template", "prmpt=x"], 1, "did you mean prompt?"),
        (["--entry", "other.py", "--function", "classify"], 1, "other.py"),
    ],
)
def test_what_cannot_be_wrapped_says_why(pf: Pf, project: Path, words: list[str], code: int, problem: str) -> None:
    (project / "intent.py").write_text(FUNCTION, encoding="utf-8")
    found, out, err = pf("flow", "init", "--flow", ".", *words)
    assert found == code
    assert problem in err
