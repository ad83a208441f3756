"""Keys that a flow's own code returns, prints or raises are in none of the files of its run, nor in its traces."""

from __future__ import annotations

from pathlib import Path

from promptflow.client import PFClient
from promptflow.connections import CustomConnection
from tests.promptflow.flowkit import dag

KEY = "sk-0123456789-of-a-connection"
CODE = """
from promptflow.core import tool
from promptflow.connections import CustomConnection

@tool
def leak(connection: CustomConnection, how: str) -> str:
    print("the key is", connection.secret)
    if how == "raise":
        raise ValueError(f"bad key {connection.secret}")
    return f"key={connection.secret}"
"""
FLOW = """
inputs: {how: {type: string}}
outputs: {o: {type: string, reference: "${leak.output}"}}
nodes:
- name: leak
  type: python
  source: {type: code, path: leak.py}
  inputs: {connection: vault, how: "${inputs.how}"}
"""


def test_a_key_that_code_gives_away_is_not_kept(tmp_path: Path, home: Path) -> None:
    client = PFClient()
    client.connections.create_or_update(CustomConnection(name="vault", secrets={"secret": KEY}, configs={"a": "b"}))
    flow = dag(tmp_path / "flow", FLOW, leak_py=CODE)
    (tmp_path / "data.jsonl").write_text('{"how": "return"}\n{"how": "raise"}\n')
    run = client.run(flow=flow, data=tmp_path / "data.jsonl", name="leaky")
    assert client.runs.details_rows(run)[0]["outputs.o"] == "key=******"
    written = [file for folder in (home, tmp_path) for file in folder.rglob("*") if file.is_file()]
    assert len(written) > 10
    assert [file for file in written if KEY.encode() in file.read_bytes()] == []
