"""The lookup tools in flows, and `pf index`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptflow.cli.main import main
from promptflow.client import PFClient
from promptflow.exceptions import PromptflowException
from promptflow.index import create_index
from promptflow.index.words import DIMENSIONS
from promptflow.workspace import Workspace

pytest.importorskip("numpy")

FLOW = """\
inputs:
  question: {type: string}
outputs:
  found: {type: object, reference: "${look.output}"}
nodes:
- name: look
  type: python
  source: {type: package, tool: promptflow_vectordb.tool.TOOL}
  inputs: INPUTS
"""


@pytest.fixture
def facts(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PF_HOME_DIRECTORY", str(home))
    file = tmp_path / "facts.jsonl"
    rows = ["The shop opens at nine.", "Parcels that are lost are sent again."]
    file.write_text("\n".join(json.dumps({"text": row, "page": n}) for n, row in enumerate(rows)))
    create_index("facts", file, Workspace.open())
    return file


def look(tmp_path: Path, tool: str, inputs: str, question: str = "a lost parcel") -> Any:
    folder = tmp_path / "flow"
    folder.mkdir(exist_ok=True)
    (folder / "flow.dag.yaml").write_text(FLOW.replace("TOOL", tool).replace("INPUTS", inputs))
    return PFClient().test(folder, inputs={"question": question})["found"]


@pytest.mark.parametrize(
    "tool, inputs",
    [
        ("common_index_lookup.search", '{mlindex_content: facts, queries: "${inputs.question}", top_k: 1}'),
        (
            "common_index_lookup.search",
            '{mlindex_content: "index: {kind: faiss, path: facts}", queries: "${inputs.question}", top_k: 1, query_type: "Hybrid (vector + keyword)"}',
        ),
        ("vector_index_lookup.VectorIndexLookup.search", '{path: facts, query: "${inputs.question}", top_k: 1}'),
    ],
)
def test_flows_find_texts_by_the_tools_that_they_name(facts: Path, tmp_path: Path, tool: str, inputs: str) -> None:
    found: Any = look(tmp_path, tool, inputs)
    (entry,) = found
    assert entry["text"] == "Parcels that are lost are sent again."
    assert set(entry) == {"text", "score", "metadata", "vector", "original_entity"}
    assert entry["metadata"] == {"source": "facts.jsonl", "row": 2, "page": 1} and 0 < entry["score"] <= 1


def test_several_questions_get_a_list_each(facts: Path, tmp_path: Path) -> None:
    inputs = '{mlindex_content: facts, queries: ["lost parcel", "opens at nine"], top_k: 1}'
    found = look(tmp_path, "common_index_lookup.search", inputs)
    assert [hits[0]["metadata"]["page"] for hits in found] == [1, 0]


def test_vectors_are_looked_up_too(facts: Path, tmp_path: Path) -> None:
    vector = json.dumps([0.5] * DIMENSIONS)
    for tool, name in (
        ("faiss_index_lookup.FaissIndexLookup", "vector"),
        ("vector_index_lookup.VectorIndexLookup", "query"),
    ):
        assert len(look(tmp_path, f"{tool}.search", f"{{path: facts, {name}: {vector}, top_k: 2}}")) == 2


@pytest.mark.parametrize(
    "inputs, said",
    [
        ('{mlindex_content: nope, queries: "x"}', "no index 'nope'"),
        ('{mlindex_content: "index: {kind: acs, endpoint: e}", queries: "x"}', "kind acs"),
        ('{mlindex_content: "index: {path: azureml://x}", queries: "x"}', "no index of this machine"),
        ('{mlindex_content: facts, queries: "x", top_k: 0}', "top_k is 0"),
        ('{mlindex_content: facts, queries: "x", query_type: Odd}', "query_type 'Odd'"),
    ],
)
def test_what_cannot_be_looked_up_is_said(facts: Path, tmp_path: Path, inputs: str, said: str) -> None:
    with pytest.raises(PromptflowException, match=said):
        look(tmp_path, "common_index_lookup.search", inputs)


def test_the_commands(facts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "create", "--data", str(facts), "-n", "two", "--chunk-size", "100"]) == 0
    assert json.loads(capsys.readouterr().out)["chunks"] == 2
    assert main(["index", "query", "-n", "two", "a lost parcel", "--top", "1"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["metadata"]["page"] == 1
    assert main(["index", "query", "-n", "two", "a lost parcel", "-o", "table"]) == 0
    assert "facts.jsonl" in capsys.readouterr().out
    assert main(["index", "delete", "-n", "two", "-y"]) == 0
    capsys.readouterr()
    assert main(["index", "list"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["facts"]
    assert main(["index", "show", "-n", "two"]) == 1
