import subprocess
import sys

import pytest
import yaml

from promptflow.client import load_flow
from promptflow.exceptions import UserErrorException
from tests.promptflow import flowkit

CODE = """
from dataclasses import dataclass


@dataclass
class Answer:
    text: str


class Greeter:
    def __init__(self, greeting: str = "hello"):
        self.greeting = greeting

    def __call__(self, name: str, times: int = 1) -> Answer:
        return Answer(self.greeting + name * times)


def shout(text: str) -> str:
    return text.upper()
"""


@pytest.fixture
def code(folder):
    (folder / "code").mkdir()
    (folder / "code/saved_entry.py").write_text(CODE)
    (folder / "code/requirements.txt").write_text("requests\n")
    yield folder / "code"
    sys.modules.pop("saved_entry", None)


def test_the_signature_of_code(client, code, monkeypatch):
    monkeypatch.syspath_prepend(str(code))
    import saved_entry

    assert client.flows.infer_signature(saved_entry.Greeter) == {
        "inputs": {"name": {"type": "string"}, "times": {"type": "int", "default": 1}},
        "outputs": {"text": {"type": "string"}},
        "init": {"greeting": {"type": "string", "default": "hello"}},
    }
    assert client.flows.infer_signature(saved_entry.shout, include_primitive_output=True) == {
        "inputs": {"text": {"type": "string"}},
        "outputs": {"output": {"type": "string"}},
    }
    with pytest.raises(UserErrorException, match="Invalid entry"):
        client.flows.infer_signature("text")


def test_a_dag_flow_has_a_signature_too(client, echo):
    assert client.flows.infer_signature(load_flow(echo)) == {
        "inputs": {"x": {"type": "string"}},
        "outputs": {"o": {"type": "string"}},
    }


def test_code_is_saved_as_a_flow(client, code, folder):
    client.flows.save("saved_entry:shout", code=code, path=folder / "saved", sample={"inputs": {"text": "hi"}})
    assert yaml.safe_load((folder / "saved/flow.flex.yaml").read_text()) == {
        "entry": "saved_entry:shout",
        "inputs": {"text": {"type": "string"}},
        "environment": {"python_requirements_txt": "requirements.txt"},
        "sample": "${file:sample.json}",
    }
    assert client.test(folder / "saved", inputs={"text": "hi"}) == "HI"
    client.flows.save("saved_entry:Greeter", code=code)
    assert client.test(code, inputs={"name": "you"}, init={"greeting": "bye "}).text == "bye you"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"entry": "saved_entry:shout"}, "Code path is required"),
        ({"entry": "saved_entry:shout", "code": "nowhere"}, "does not exist"),
        ({"entry": "saved_entry:none", "code": "code"}, "none"),
        ({"entry": "saved_entry:shout", "code": "code", "path": "."}, "exists and is not empty"),
        ({"entry": "saved_entry:shout", "code": "code", "sample": {"inputs": {"x": 1}}}, "do not match"),
        (
            {"entry": "saved_entry:shout", "code": "code", "signature": {"inputs": {"zz": {"type": "str"}}}},
            "Ports from signature: zz",
        ),
        (
            {"entry": "saved_entry:shout", "code": "code", "signature": {"inputs": {"text": {"type": "int"}}}},
            "does not match",
        ),
    ],
)
def test_what_cannot_be_saved(client, code, folder, arguments, message):
    with pytest.raises(UserErrorException, match=message):
        client.flows.save(**arguments)


def test_every_error_of_a_flow_is_found(client, folder):
    flow = flowkit.dag(
        folder / "bad",
        """
        inputs:
          x: {type: string}
        outputs:
          o: {type: string, reference: "${none.output}"}
        nodes:
        - {name: a, type: python, source: {type: code, path: echo.py}, inputs: {x: "${inputs.nope}"}}
        """,
    )
    result = client.flows.validate(flow)
    assert not result.passed
    assert len(result.findings) == 2
    assert all("flow.dag.yaml:" in finding.location for finding in result.findings)
    with pytest.raises(UserErrorException):
        client.flows.validate(flow, raise_error=True)


def test_a_tool_that_cannot_be_loaded_is_found(client, echo):
    assert client.flows.validate(echo).passed
    (echo / "a.py").write_text("import not_installed_anywhere\n")
    assert "not_installed_anywhere" in next(iter(client.flows.validate(echo).error_messages.values()))


def test_a_flow_is_built_from_python_too(client, echo, tmp_path):
    client.flows.build(echo, output=tmp_path / "out", format="kserve")
    assert (tmp_path / "out" / "flow" / "flow.dag.yaml").exists()
    assert (tmp_path / "out" / "kserve" / "inference-service.yaml").exists()


def test_tools_are_listed(client, echo):
    tools = client.tools.list(echo)
    assert "promptflow.tools.embedding.embedding" in tools["package"]
    assert tools["code"]["a.py"]["function"] == "echo"


UNUSED = "sqlalchemy pandas aiohttp jinja2 rich asyncio cryptography promptflow.client.runs promptflow.batch".split()


def test_testing_a_flow_of_plain_python_imports_nothing_heavy(echo):
    code = (
        "import sys\nfrom promptflow.client import PFClient\nPFClient().test('echo', inputs={'x': '1'})\n"
        f"print([m for m in {UNUSED} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=echo.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
