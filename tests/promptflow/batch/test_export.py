import csv
import json

import pytest

from promptflow.batch.export import Table, export
from promptflow.exceptions import RunArgumentError
from promptflow.storage.folder import RunFolder


@pytest.fixture
def folder_of(tmp_path):
    """The folder of a run with these rows of (inputs, outputs), in this order."""

    def make(*rows):
        for name, place in (("inputs.jsonl", 1), ("outputs.jsonl", 2)):
            lines = (json.dumps({**row[place], "line_number": row[0]}) for row in rows if row[place] is not None)
            (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return RunFolder(tmp_path)

    return make


def values(folder, tmp_path, column="outputs.o"):
    parquet = pytest.importorskip("pyarrow.parquet")
    export(folder, str(tmp_path / "out.parquet"))
    table = parquet.read_table(tmp_path / "out.parquet")
    return str(table.schema.field(column).type), table.column(column).to_pylist()


@pytest.mark.parametrize(
    ("given", "type", "kept"),
    [
        ([1, 2], "int64", [1, 2]),
        ([1, 2.5, None], "double", [1.0, 2.5, None]),
        ([True, False], "bool", [True, False]),
        (["a", None], "string", ["a", None]),
        ([None, None], "null", [None, None]),
        ([["a", "b"], []], "list<element: string>", [["a", "b"], []]),
        ([[1, 2.5], [3]], "list<element: double>", [[1.0, 2.5], [3.0]]),
        ([{"a": 1}, {"b": [2]}], "string", ['{"a":1}', '{"b":[2]}']),
        ([{}, None], "string", ["{}", None]),
        ([1, "a"], "string", ["1", "a"]),
        ([True, 1], "string", ["true", "1"]),
        ([[1, "a"], [2]], "string", ['[1,"a"]', "[2]"]),
        ([[[1]], [2]], "string", ["[[1]]", "[2]"]),
        ([2**63, 1], "string", ["9223372036854775808", "1"]),
        (["\ud800", "b"], "string", ["?", "b"]),
    ],
)
def test_a_column_of_parquet_has_the_one_type_that_holds_its_values(folder_of, tmp_path, given, type, kept):
    folder = folder_of(*((number, {"x": 1}, {"o": value}) for number, value in enumerate(given)))
    assert values(folder, tmp_path) == (type, kept)


def test_rows_of_many_groups(folder_of, tmp_path, monkeypatch):
    monkeypatch.setattr("promptflow.batch.export._GROUP_BYTES", 20_000)
    folder = folder_of(*((number, {"x": number}, {"o": str(number)}) for number in range(2500)))
    assert values(folder, tmp_path)[1] == [str(number) for number in range(2500)]


def test_a_run_that_was_killed_is_sorted(folder_of):
    folder = folder_of((2, {"x": "c"}, {"o": "C"}), (0, {"x": "a"}, None), (1, {"x": "b"}, {"o": "B"}))
    assert [(row["line_number"], row.get("outputs.o"), row["status"]) for row in Table(folder)] == [
        (0, None, "Failed"),
        (1, "B", "Completed"),
        (2, "C", "Completed"),
    ]


def test_cells_of_csv(folder_of, tmp_path):
    row = {"n": None, "b": True, "f": 0.1, "d": {"a": [1]}, "t": 'two\nlines, "quoted"', "u": "\ud800é"}
    assert export(folder_of((0, row, {"o": 1}), (1, {}, {"p": 2})), str(tmp_path / "out.csv")) == 2
    with (tmp_path / "out.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    cells = {name.removeprefix("inputs."): cell for name, cell in first.items() if name.startswith("inputs.")}
    assert cells == {"n": "", "b": "true", "f": "0.1", "d": '{"a":[1]}', "t": row["t"], "u": "?é"}
    assert (second["outputs.o"], second["outputs.p"]) == ("", "2")


def test_a_run_without_rows(folder_of, tmp_path):
    assert export(folder_of(), str(tmp_path / "out.csv")) == 0
    assert (tmp_path / "out.csv").read_text() == "line_number,status\n"
    assert values(folder_of(), tmp_path, "status") == ("null", [])


def test_the_format_must_be_known(folder_of, tmp_path):
    with pytest.raises(RunArgumentError, match="does not tell the format"):
        export(folder_of(), str(tmp_path / "rows"))
    with pytest.raises(RunArgumentError, match="'xml' is no format"):
        export(folder_of(), str(tmp_path / "rows.xml"), "xml")
