import csv
import gzip
import json
import uuid
from pathlib import Path

import fsspec
import pytest

from promptflow.client import PFClient
from tests.promptflow.cli.conftest import Pf


@pytest.fixture
def run(pf: Pf, project: Path) -> str:
    """A run of four rows, the second of which failed."""
    assert pf("run", "create", "--flow", "f", "--data", "bad.jsonl", "--name", "four", "--fail-on", "never")[0] == 0
    return "four"


def test_rows_are_printed_as_jsonl(pf: Pf, run: str) -> None:
    code, out, _ = pf("run", "export", run)
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[0] == {"line_number": 0, "inputs.x": "one", "outputs.o": "<one>", "status": "Completed"}
    assert rows[1]["status"] == "Failed"
    assert "a bad row" in rows[1]["error"]
    assert [row["line_number"] for row in rows] == [0, 1, 2, 3]


def test_rows_are_printed_as_csv(pf: Pf, run: str) -> None:
    rows = list(csv.DictReader(pf("run", "export", "@latest", "--format", "csv")[1].splitlines()))
    assert list(rows[0]) == ["line_number", "inputs.x", "outputs.o", "status", "error"]
    assert (rows[3]["inputs.x"], rows[3]["outputs.o"], rows[1]["outputs.o"]) == ("four", "<four>", "")


def test_the_name_of_the_file_tells_the_format(pf: Pf, run: str) -> None:
    assert pf("run", "export", run, "--output", "rows.csv.gz")[0] == 0
    assert gzip.decompress(Path("rows.csv.gz").read_bytes()).startswith(b"line_number,inputs.x,")
    code, _, err = pf("run", "export", run, "--output", "rows.xlsx")
    assert code == 1
    assert "one of jsonl, csv, parquet" in err


def test_parquet_is_data_of_another_run(pf: Pf, run: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    code, out, err = pf("run", "export", run, "--output", "rows.parquet")
    assert (code, out) == (0, "")
    assert "4 rows of run four are in rows.parquet" in err
    assert parquet.read_table("rows.parquet").column("outputs.o").to_pylist() == ["<one>", None, "<three>", "<four>"]
    again = PFClient().run(flow="f", data="rows.parquet", column_mapping={"x": "${data.inputs.x}"})
    assert again.properties["system_metrics"]["__pf__.lines.completed"] == 3


def test_parquet_is_not_printed(pf: Pf, run: str) -> None:
    code, out, err = pf("run", "export", run, "--format", "parquet")
    assert (code, out) == (2, "")
    assert "--output four.parquet" in err


def test_rows_go_to_a_url(pf: Pf, run: str) -> None:
    url = f"memory://{uuid.uuid4().hex}/rows.jsonl"
    assert pf("run", "export", run, "--output", url)[0] == 0
    with fsspec.open(url, "rb") as file:
        assert len(file.read().splitlines()) == 4


def test_a_file_that_is_there_is_written_over_only_when_told(pf: Pf, run: str) -> None:
    Path("rows.csv").write_text("mine")
    assert pf("run", "export", run, "--output", "rows.csv")[0] == 2
    assert Path("rows.csv").read_text() == "mine"
    assert pf("run", "export", run, "--output", "rows.csv", "-y")[0] == 0
    assert Path("rows.csv").read_text() != "mine"
