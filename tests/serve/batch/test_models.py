"""Models without code, tables, and files of urls."""

from __future__ import annotations

import csv
import io
import json
import pickle
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import DataFileError, PathNotFoundError, ValidationException
from serve.batch.inputs import Input, files_of, resolve_input
from serve.batch.plan import load_plan
from serve.batch.records import Settings
from serve.batch.tables import JSON_LINES, Piece, Reader, pieces, read
from tests.serve.batch.conftest import Deploy, RunJob, predictions

pandas = pytest.importorskip("pandas")
needs_sklearn = pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")
needs_arrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
COLUMNS = ["x", "y"]
ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.fixture
def linear(project: Path) -> Path:
    """``sum.pkl``: x + y. ``rows``: the same rows as csv, tsv, jsonl, npy and, where it is known, parquet."""
    from sklearn.linear_model import LinearRegression

    table = pandas.DataFrame(ROWS, columns=COLUMNS)
    model = LinearRegression().fit(table, table.x + table.y)
    (project / "sum.pkl").write_bytes(pickle.dumps(model))
    folder = project / "rows"
    folder.mkdir()
    table.to_csv(folder / "a.csv", index=False)
    table[["y", "x"]].to_csv(folder / "b.tsv", index=False, sep="\t")
    table.to_json(folder / "c.jsonl", orient="records", lines=True)
    if find_spec("pyarrow") is not None:
        table.to_parquet(folder / "d.parquet")
    return folder


def lines_of(text: str) -> list[list[str]]:
    return [[row, f"{float(value):.1f}", name] for row, value, name in csv.reader(io.StringIO(text))]


@needs_sklearn
def test_a_model_without_code_reads_rows_of_every_kind(deploy: Deploy, run_job: RunJob, linear: Path) -> None:
    deployment = deploy(model={"path": "sum.pkl"}, code_configuration=None, allow_pickle=True)
    job = run_job(deployment, data=linear)
    assert job.status == "Completed", job.record["error"]
    names = sorted(file.name for file in linear.iterdir())
    expected = [[str(at), f"{x + y:.1f}", name] for name in names for at, (x, y) in enumerate(ROWS)]
    assert lines_of(predictions(job)) == expected
    counts = {"items": len(names), "failed_items": 0, "rows": len(names) * len(ROWS)}
    assert {**job.record["progress"], **counts} == job.record["progress"]


@needs_sklearn
def test_a_pickle_needs_the_users_word(deploy: Deploy, run_job: RunJob, linear: Path) -> None:
    job = run_job(deploy(model={"path": "sum.pkl"}, code_configuration=None), data=linear)
    assert job.status == "Failed"
    assert "allow_pickle: true" in job.record["error"]


BAD = {
    "one.csv": ("x\n1\n", "one.csv: "),
    "text.csv": ("x,y\n1,text\n", "text.csv: "),
    "empty.csv": ("", "empty.csv has no rows"),
    "z.png": ("PNG", "z.png is no file of rows"),
    "z.jsonl": ('{"x": 1', "z.jsonl cannot be read"),
    "z.parquet": ("no", "z.parquet is no parquet file"),
}


@needs_arrow
@needs_sklearn
def test_files_that_are_no_good_fail_alone(deploy: Deploy, run_job: RunJob, linear: Path) -> None:
    good = len([*linear.iterdir()])
    for name, (text, _) in BAD.items():
        (linear / name).write_text(text)
    deployment = deploy(model={"path": "sum.pkl"}, code_configuration=None, allow_pickle=True, mini_batch_size=1)
    job = run_job(deployment, data=linear)
    assert (job.status, job.record["progress"]["failed_items"]) == ("Completed", len(BAD))
    assert job.record["progress"]["rows"] == good * len(ROWS)
    log = (Path(job.record["output"]).parent / "logs" / "job.log").read_text()
    assert [name for name, (_, told) in BAD.items() if told not in log] == []
    assert (log.count("try 1 of 4"), log.count("try 2 of 4")) == (len(BAD), 0)  # they would fail again


@needs_sklearn
def test_an_mlflow_model_over_a_table(deploy: Deploy, run_job: RunJob, linear: Path, project: Path) -> None:
    model = project / "mlmodel"
    model.mkdir()
    (project / "sum.pkl").rename(model / "model.pkl")
    signature = json.dumps([{"type": "double", "name": name} for name in COLUMNS])
    (model / "MLmodel").write_text(
        f"flavors:\n  sklearn: {{pickled_model: model.pkl}}\nsignature:\n  inputs: '{signature}'\n"
    )
    (linear / "MLTable").write_text("paths:\n  - file: a.csv\n  - file: a.csv\ntransformations:\n  - read_delimited\n")
    deployment = deploy(model={"path": "mlmodel", "type": "mlflow_model"}, code_configuration=None, allow_pickle=True)
    job = run_job(deployment, data=linear, settings=replace(deployment.settings, mini_batch_size=4))
    assert job.status == "Completed", job.record["error"]
    assert [row[1] for row in lines_of(predictions(job))] == ["3.0", "7.0", "11.0"] * 2
    assert job.record["progress"] == {"mini_batches": 2, "ended": 2, "items": 6, "failed_items": 0, "rows": 6}


def table_folder(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "MLTable").write_text(text)
    return folder


TABLES: dict[str, tuple[str, dict[str, str], list[list[Any]]]] = {
    "delimited": (
        "paths: [{pattern: ./*.csv}]\ntransformations:\n  - read_delimited: {delimiter: ';', header: all_files_same_headers}",
        {"1.csv": "a;b\n1;x y\n2;z\n\n", "2.csv": "a;b\n3;w"},
        [[1, "x y"], [2, "z"], [3, "w"]],
    ),
    "no header": (
        "paths: [{folder: in}]\ntransformations:\n  - read_delimited: {header: no_header, encoding: utf8}\n"
        "  - keep_columns: [Column2]",
        {"in/1.csv": "1,x\n2,y\n3,z\n"},
        [["x"], ["y"], ["z"]],
    ),
    "lines in quotes": (
        "paths: [{file: 1.csv}]\ntransformations: [{read_delimited: {support_multi_line: true}}]",
        {"1.csv": 'a,b\n1,"two\nlines"\n2,"a ""quote"""\n'},
        [[1, "two\nlines"], [2, 'a "quote"']],
    ),
    "json lines": (
        "paths: [{file: 1.jsonl}]\ntransformations: [read_json_lines, {drop_columns: b}]",
        {"1.jsonl": '{"a": 1, "b": 2}\n{"a": [1], "b": 3}\n'},
        [[1], [[1]]],
    ),
}


@pytest.mark.parametrize("text, files, rows", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("size", [2, 100])
def test_a_driver_gets_a_table_in_pieces(
    deploy: Deploy, run_job: RunJob, tmp_path: Path, text: str, files: dict[str, str], rows: list[list[Any]], size: int
) -> None:
    folder = table_folder(tmp_path / "table", text)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    code = "import json\ndef run(table):\n"
    code += "    return [json.dumps(row) for row in table.astype(object).to_numpy().tolist()]\n"
    deployment = deploy(code, mini_batch_size=size)
    job = run_job(deployment, data=folder)
    assert job.status == "Completed", job.record["error"]
    assert [json.loads(line) for line in predictions(job).splitlines()] == rows
    assert job.record["progress"]["items"] == len(rows)


@needs_arrow
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_pieces_of_parquet_are_all_of_it(tmp_path: Path, size: int) -> None:
    table = pandas.DataFrame({"a": range(20), "b": [f"t{at}" for at in range(20)]})
    table.to_parquet(tmp_path / "t.parquet", row_group_size=6)
    reader = Reader("parquet")
    found = [*pieces(tmp_path / "t.parquet", reader, lambda rows, _: rows >= size)]
    assert [one.rows for one in found] == [size] * (20 // size) + ([20 % size] if 20 % size else [])
    again = pandas.concat([read([one], reader) for one in found], ignore_index=True)
    pandas.testing.assert_frame_equal(again, table)


def test_pieces_may_be_given_in_bytes(tmp_path: Path) -> None:
    folder = table_folder(tmp_path / "t", "paths: [{file: a.jsonl}]\ntransformations: [read_json_lines]")
    (folder / "a.jsonl").write_text('{"a": 1}\n' * 100)
    plan = load_plan(tmp_path / "plan", Input(str(folder), "mltable"), Settings(mini_batch_bytes=100))
    assert plan.sizes == [12] * 8 + [4]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("paths: []\ntransformations: [read_parquet]", "match no files"),
        ("transformations: []", "no list `paths`"),
        ("paths: [{file: gone.csv}]", "There is no file"),
        ("paths: [{file: a.csv}]", "does not say how"),
        ("paths: [{file: a.csv}]\ntransformations: [{take_random_sample: {probability: 0.1}}]", "take_random_sample"),
        ("paths: [{file: https://x/y.csv}]\ntransformations: [read_delimited]", "of this machine"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str, told: str) -> None:
    folder = table_folder(tmp_path, text)
    (folder / "a.csv").write_text("a\n1\n")
    with pytest.raises(DataFileError, match=told):
        resolve_input(str(folder))


def test_what_an_input_is(tmp_path: Path) -> None:
    for name in ("in/b.csv", "in/a.csv", "in/deep/c.csv", "in/.git/config", "in/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(text: str) -> list[str]:
        return [str(Path(file).relative_to(tmp_path)) for file in files_of(resolve_input(text))]

    assert found(f"{tmp_path}/in") == ["in/a.csv", "in/b.csv", "in/deep/c.csv"]
    assert found(f"file://{tmp_path}/in/b.csv") == ["in/b.csv"]
    assert found(f"{tmp_path}/in/**/*.csv") == ["in/a.csv", "in/b.csv", "in/deep/c.csv"]
    for text, error in (
        (f"{tmp_path}/none/*.csv", PathNotFoundError), (f"{tmp_path}/none", PathNotFoundError),
        ("azureml:data:1", ValidationException), ("azureml://datastores/d/paths/p", ValidationException),
    ):  # fmt: skip
        with pytest.raises(error):
            resolve_input(text)
    with pytest.raises(ValidationException, match="no type of an input"):
        resolve_input(str(tmp_path), "folder")
    with pytest.raises(DataFileError, match="There is no file MLTable"):
        resolve_input(str(tmp_path), "mltable")


def test_files_of_urls_are_there_while_they_are_scored(deploy: Deploy, run_job: RunJob, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "in.zip", "w") as file:
        for name in ("rows/a.txt", "rows/b.txt"):
            file.writestr(name, name * 2)
    code = "import os\ndef run(b): return [f'{os.path.basename(file)} {open(file).read()}' for file in b]\n"
    job = run_job(deploy(code), data=f"zip://rows::file://{tmp_path}/in.zip")
    assert job.status == "Completed", job.record["error"]
    assert predictions(job) == "a.txt rows/a.txtrows/a.txt\nb.txt rows/b.txtrows/b.txt\n"
    folder = Path(job.record["output"]).parent / "fetched"
    assert not [file for file in folder.rglob("*") if file.is_file()]


def test_a_piece_of_a_file_that_became_another(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("no json\n")
    with pytest.raises(DataFileError, match=r"a\.jsonl cannot be read"):
        read([Piece(str(tmp_path / "a.jsonl"), 0, 8, 1)], Reader(JSON_LINES))
