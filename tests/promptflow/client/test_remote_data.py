"""Runs whose data is at a url."""

import gzip
import json
import uuid

import fsspec
import pytest

from promptflow.client import PFClient
from promptflow.exceptions import PathNotFoundError, UserErrorException

ROWS = [{"x": "1"}, {"x": "2"}]


@pytest.fixture
def put():
    """Keeps bytes at a url in memory; gives the url."""
    folder = f"memory://{uuid.uuid4().hex}"

    def keep(name: str, content: bytes) -> str:
        with fsspec.open(f"{folder}/{name}", "wb") as file:
            file.write(content)
        return f"{folder}/{name}"

    return keep


def jsonl(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_data_comes_from_a_url_and_leaves_no_copy(client, echo, put):
    url = put("rows.jsonl.gz", gzip.compress(jsonl(ROWS)))
    run = client.run(flow=echo, data=url)
    assert [row["o"] for row in run.folder.outputs()] == ["<1>", "<2>"]
    assert PFClient().runs.get(run.name).data == url
    assert run._to_dict()["data"] == url
    assert not (run.folder.path / "downloads").exists()


def test_a_run_on_a_run_reads_its_data_from_the_url_again(client, echo, put, evaluation):
    base = client.run(flow=echo, data=put("rows.jsonl", jsonl(ROWS)))
    mapping = {"answer": "${run.outputs.o}", "truth": "${run.inputs.x}"}
    run = client.run(flow=evaluation, run=base, column_mapping=mapping)
    assert client.get_metrics(run) == {"accuracy": 1.0, "rows": 2}


def test_a_url_where_nothing_is_makes_no_run(client, echo):
    with pytest.raises(PathNotFoundError, match="memory://none/rows.jsonl does not exist"):
        client.run(flow=echo, data="memory://none/rows.jsonl?key=secret")
    assert client.runs.list() == []


def test_what_is_wrong_in_remote_data_is_told_with_its_place(client, echo, put):
    run = client.run(flow=echo, data=put("rows.jsonl", b'{"x": "1"}\n{"x": bad}\n'))
    assert run.status == "Failed"
    assert "rows.jsonl:2: no valid JSON" in run.folder.error()["message"]


def test_a_file_url_is_a_path(client, echo, data):
    file = data("1")
    run = client.run(flow=echo, data=f"file://{file}")
    assert run.data == str(file)


def test_a_run_writes_its_rows_to_a_url(client, echo, data):
    url = f"memory://{uuid.uuid4().hex}/rows.csv"
    client.run(flow=echo, data=data("1", "bad"), export=url)
    with fsspec.open(url, "rb") as file:
        lines = file.read().decode().splitlines()
    assert lines[:2] == ["line_number,inputs.x,outputs.o,status,error", "0,1,<1>,Completed,"]


def test_a_path_of_an_export_is_relative_to_where_the_run_was_asked_for(client, echo, data, folder):
    client.run(flow=echo, data=data("1"), export="out/rows.jsonl")
    assert json.loads((folder / "out/rows.jsonl").read_text())["outputs.o"] == "<1>"


@pytest.mark.parametrize("target", ["rows.xlsx", "nosuch://bucket/rows.csv"])
def test_an_export_that_cannot_be_is_told_before_the_run(client, echo, data, target):
    with pytest.raises(UserErrorException):
        client.run(flow=echo, data=data("1"), export=target)
    assert client.runs.list() == []


def test_a_run_whose_export_fails_is_kept(client, echo, data, folder):
    (folder / "file").write_text("in the way")
    with pytest.raises(UserErrorException) as caught:
        client.run(flow=echo, data=data("1"), name="kept", export="file/rows.csv")
    assert "pf run export kept --output" in caught.value.hint
    assert client.runs.get("kept").status == "Completed"
