import sys
import textwrap

import pytest

from promptflow.exceptions import UserErrorException
from tests.promptflow import flowkit

CODE = """
from dataclasses import dataclass
from promptflow.core import log_metric


@dataclass
class Answer:
    text: str
    size: int


class Greeter:
    def __init__(self, greeting: str = "hello"):
        self.greeting = greeting

    def __call__(self, x: str, times: int = 1) -> Answer:
        return Answer(f"{self.greeting} {x * times}", times)

    def __aggregate__(self, results):
        return {"rows": len(results), "sizes": sum(r.size for r in results)}


def upper(x: str, mark: str = "!"):
    return x.upper() + mark


async def upper_async(x: str):
    return {"loud": x.upper()}


def letters(x: str):
    yield from x
"""


@pytest.fixture
def module(folder, monkeypatch):
    """The folder of a module with entries; what a test imports of it is forgotten afterwards."""
    code = folder / "code"
    code.mkdir()
    (code / "greeter_entry.py").write_text(textwrap.dedent(CODE))
    monkeypatch.syspath_prepend(str(code))
    yield code
    sys.modules.pop("greeter_entry", None)


def outputs(run):
    assert run.status == "Completed", run.folder.error().get("message")
    return [{k: v for k, v in row.items() if k != "line_number"} for row in run.folder.outputs()]


def test_a_flex_flow_from_its_folder(client, module, data):
    flow = flowkit.write(module, flow_flex_yaml="entry: greeter_entry:upper\n")
    assert outputs(client.run(flow=flow, data=data("a"))) == [{"output": "A!"}]


def test_a_class_with_init_and_aggregation(client, module, data):
    flow = flowkit.write(module, flow_flex_yaml="entry: greeter_entry:Greeter\n")
    mapping = {"x": "${data.x}", "times": "${data.n}"}
    run = client.run(
        flow=flow, data=data({"x": "a", "n": 1}, {"x": "b", "n": 2}), column_mapping=mapping, init={"greeting": "hi"}
    )
    assert outputs(run) == [{"text": "hi a", "size": 1}, {"text": "hi bb", "size": 2}]
    assert client.get_metrics(run) == {"rows": 2, "sizes": 3}
    assert run.properties["init_kwargs"] == {"greeting": "hi"}
    assert not run.name.startswith("code_variant")
    assert outputs(client.run(resume_from=run, name="again"))[0] == {"text": "hi a", "size": 1}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("greeter_entry:upper", {"output": "AB!"}),
        ("greeter_entry:upper_async", {"loud": "AB"}),
        ("greeter_entry:letters", {"output": "ab"}),
        ("greeter_entry:Greeter", {"text": "hello ab", "size": 1}),
    ],
)
def test_an_entry_by_name_and_by_object(client, module, data, entry, expected):
    import greeter_entry

    file = data("ab")
    run = client.run(flow=entry, code=module, data=file)
    assert outputs(run) == [expected]
    assert (run.folder.path / "snapshot/flow.flex.yaml").read_text() == f"entry: {entry}\n"
    assert outputs(client.run(resume_from=run, name="again")) == [expected]
    found = getattr(greeter_entry, entry.partition(":")[2])
    assert outputs(client.run(flow=found, code=module, data=file)) == [expected]


def test_an_instance(client, module, data):
    from greeter_entry import Greeter

    run = client.run(flow=Greeter("hey"), data=data("a", "b"))
    assert outputs(run)[1] == {"text": "hey b", "size": 1}
    assert client.get_metrics(run)["rows"] == 2


def test_a_function_made_in_place(client, data):
    assert outputs(client.run(flow=lambda x: x * 2, data=data("a"))) == [{"output": "aa"}]


def test_code_must_be_there(client, data):
    with pytest.raises(UserErrorException, match="Code path .* does not exist"):
        client.run(flow="m:f", code="nowhere", data=data("a"))
