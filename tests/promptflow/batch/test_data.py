import gzip
import logging
import math

import pytest

from promptflow.batch.columns import Columns
from promptflow.batch.data import look_at, read_rows
from promptflow.exceptions import DataFileError


@pytest.fixture
def rows_of(tmp_path):
    def read(name, content):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(read_rows(file))

    return read


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", '{"x": 1}\n{"x": "2"}\n', [{"x": 1}, {"x": "2"}]),
        ("a.jsonl", '\n{"x": null}\n\n\n', [{"x": None}]),
        ("a.jsonl", b'\xef\xbb\xbf{"x": "bom"}', [{"x": "bom"}]),
        ("a.jsonl", '{"x": "\u00e9"}\r\n{"x": 2}\r\n', [{"x": "\u00e9"}, {"x": 2}]),
        ("a.jsonl", "", []),
        ("a.JSONL", '{"x": 1}', [{"x": 1}]),
        ("a.csv", "x,y\n1,2\n007,\n", [{"x": "1", "y": "2"}, {"x": "007", "y": ""}]),
        ("a.csv", b"\xef\xbb\xbfx\nbom\n", [{"x": "bom"}]),
        ("a.csv", 'x\n"a ""q"", b\nc"\n', [{"x": 'a "q", b\nc'}]),
        ("a.csv", "x,x,x.1\n1,2,3\n", [{"x": "1", "x.2": "2", "x.1": "3"}]),
        ("a.csv", "x,y\n1\n\n2,3\n", [{"x": "1"}, {"x": "2", "y": "3"}]),
        ("a.csv", "x,y\n", []),
        ("a.csv", "x\r\nNaN\r\nNone\r\n", [{"x": "NaN"}, {"x": "None"}]),
        ("a.tsv", "x\ty\n1\t2,3\n", [{"x": "1", "y": "2,3"}]),
        ("a.json", '[{"x": 1}, {"y": 2}]', [{"x": 1}, {"y": 2}]),
        ("a.json", '{"x": ["p", "q"], "y": [1, 2]}', [{"x": "p", "y": 1}, {"x": "q", "y": 2}]),
        ("a.json", '{"x": {"0": "p", "1": "q"}}', [{"x": "p"}, {"x": "q"}]),
        ("a.json", '{"x": "one object"}', [{"x": "one object"}]),
        ("a.json", "[]", []),
        ("a.dat", '{"x": 1}\n', [{"x": 1}]),
        ("noextension", '{"x": 1}\n', [{"x": 1}]),
    ],
)
def test_rows_of_a_file(rows_of, name, content, expected):
    assert rows_of(name, content) == expected


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl", '{"x": 1}\n{"x": bad}\n', "a.jsonl:2"),
        ("a.jsonl", '{"x": 1}\n[1]\n', "a.jsonl:2: expected a JSON object, found a list"),
        ("a.jsonl", '{"x": 1}\n"text"\n', "a.jsonl:2: expected a JSON object, found a text"),
        ("a.jsonl", '{"x": 1', "a.jsonl:1"),
        ("a.jsonl", b'{"x": 1}\n{"x": "\xff"}\n', "a.jsonl:2: the text is not UTF-8"),
        ("a.jsonl", '{"x": ' + "[" * 100_000, "a.jsonl:1"),
        ("a.csv", "x,y\n1,2\n3,4,5\n", "a.csv:3: expected 2 cells, found 3"),
        ("a.csv", 'x\n"open\n', "a.csv:2"),
        ("a.csv", b"x\n\xff\n", "a.csv:2: the text is not UTF-8"),
        ("a.json", "[{]", "a.json:1"),
        ("a.json", '[{"x": 1},\n 5]', "item 1 is a number"),
        ("a.json", "7", "found a number"),
        ("a.csv", "x\n1\n".encode("utf-16"), "a.csv:1: the text is not UTF-8"),
    ],
)
def test_a_bad_row_is_an_error_that_says_where(rows_of, name, content, place):
    with pytest.raises(DataFileError, match=place) as caught:
        rows_of(name, content)
    assert name in caught.value.location


def test_nan_and_infinity_are_read(rows_of):
    (row,) = rows_of("a.jsonl", '{"x": NaN, "y": -Infinity}')
    assert math.isnan(row["x"])
    assert row["y"] == -math.inf


def test_a_cell_of_100_000_characters(rows_of):
    text = "x" * 100_000
    assert rows_of("a.csv", f"x\n{text * 2}\n") == [{"x": text * 2}]
    assert rows_of("a.jsonl", f'{{"x": "{text}"}}') == [{"x": text}]


def test_a_folder_is_read_recursively_in_the_order_of_names(tmp_path):
    for name, content in {
        "b.csv": "x\nb\n",
        "a.jsonl": '{"x": "a"}',
        "sub/c.json": '[{"x": "c"}]',
        ".hidden": "no",
        "notes.md": "# no rows",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert [row["x"] for row in read_rows(tmp_path)] == ["a", "b", "c"]


def test_a_file_of_unknown_kind_is_left_out_with_a_warning(rows_of, caplog):
    with caplog.at_level(logging.WARNING):
        assert rows_of("notes.txt", "just words\n") == []
    assert "notes.txt" in caplog.text


def test_rows_are_streamed(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"x": 1}\nnot json\n')
    rows = read_rows(file)
    assert next(rows) == {"x": 1}
    with pytest.raises(DataFileError):
        next(rows)


def test_relative_images_are_meant_from_the_data_file(rows_of, tmp_path):
    rows = rows_of(
        "d/a.jsonl",
        '{"i": {"data:image/png;path": "p.png"}, "l": [{"data:image/jpg;path": "/abs.jpg"}],'
        ' "v": {"type": "image_file", "image_file": {"path": "sub/q.png"}}, "u": {"data:image/png;url": "http://h/p"}}',
    )
    assert rows == [
        {
            "i": {"data:image/png;path": (tmp_path / "d/p.png").as_posix()},
            "l": [{"data:image/jpg;path": "/abs.jpg"}],
            "v": {"type": "image_file", "image_file": {"path": (tmp_path / "d/sub/q.png").as_posix()}},
            "u": {"data:image/png;url": "http://h/p"},
        }
    ]


def test_parquet_rows_keep_their_types(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    parquet.write_table(arrow.table({"x": [1, 2], "y": ["a", None]}), tmp_path / "a.parquet")
    assert list(read_rows(tmp_path / "a.parquet")) == [{"x": 1, "y": "a"}, {"x": 2, "y": None}]
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataFileError, match=r"b\.parquet"):
        list(read_rows(tmp_path / "b.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl.gz", '{"x": 1}\n{"x": 2}\n', [{"x": 1}, {"x": 2}]),
        ("a.csv.gz", b"\xef\xbb\xbfx,y\n1,2\n", [{"x": "1", "y": "2"}]),
        ("a.TSV.GZ", "x\ty\n1\t2\n", [{"x": "1", "y": "2"}]),
        ("a.json.gz", '[{"x": 1}]', [{"x": 1}]),
        ("a.gz", '{"x": 1}\n', [{"x": 1}]),
        ("a.jsonl.gz", "", []),
    ],
)
def test_compressed_files_are_read_as_what_they_hold(rows_of, name, content, expected):
    assert rows_of(name, gzip.compress(content if isinstance(content, bytes) else content.encode())) == expected


@pytest.mark.parametrize("damage", [lambda d: d[:-12], lambda d: d[:40] + b"\0\0\0\0" + d[44:], lambda d: b"plain"])
def test_a_damaged_compressed_file_is_named(rows_of, damage):
    whole = gzip.compress("".join(f'{{"x": "{n * 7919}"}}\n' for n in range(2000)).encode())
    with pytest.raises(DataFileError, match="a.jsonl.gz is no complete gzip file"):
        rows_of("a.jsonl.gz", damage(whole))


def test_the_size_of_parquet_is_known_without_reading_its_rows(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({"x": [1, 2, 3], "y": ["a", None, "c"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert look_at(tmp_path / "a.parquet") == Columns(3, ("x", "y"))
