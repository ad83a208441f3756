"""What is captured ends up in files, and never in anybody's way."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from serve.endpoints.spec import Collection, Collector
from serve.gateway.capture import MAX_WAITING, Capture, Captured
from serve.gateway.collect import Writer
from serve.gateway.parquet import ROWS, to_parquet

COLLECTIONS = {
    "model_inputs": Collection(),
    "model_outputs": Collection(),
    "own": Collection(),
    "request": Collection(False),
}


def captured(request: bytes | None = b'{"data": [1]}', at: float = 0.0) -> Captured:
    return Captured(
        "id-1",
        at or time.time(),
        "/score",
        200,
        "application/json",
        request,
        13,
        "text/csv",
        b"a,b",
        3,
        {"x-user": "me"},
    )


def made(folder: Path) -> Path:
    """The Parquet file that comes to be in there."""
    deadline = time.monotonic() + 30
    while [*folder.rglob("*.jsonl")] != [*folder.rglob("10-0.jsonl")]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (file,) = folder.rglob("*.parquet")
    return file


def test_a_line_per_request_and_collection(tmp_path: Path) -> None:
    told: list[tuple[str, Path]] = []
    capture = Capture("shop", "blue", Collector(COLLECTIONS))
    writer = Writer(tmp_path, lambda capture, name, folder: told.append((name, folder)))
    for _ in range(2):
        capture.add(captured())
        capture.add(captured(None))
        writer.write([capture])
    files = sorted(tmp_path.rglob("*.jsonl"))
    assert [file.relative_to(tmp_path).parts[:3] for file in files] == [
        ("shop", "blue", "model_inputs"),
        ("shop", "blue", "model_outputs"),
    ]
    inputs, outputs = ([orjson.loads(line) for line in file.read_bytes().splitlines()] for file in files)
    assert [one.get("data") for one in inputs] == [{"data": [1]}, None] * 2
    assert {one["data_base64"] for one in outputs} == {"YSxi"}
    assert (inputs[0]["headers"], inputs[0]["correlationid"]) == ({"x-user": "me"}, "id-1")
    assert told == [("model_inputs", files[0].parents[3]), ("model_outputs", files[1].parents[3])]


def test_a_file_whose_time_is_over_becomes_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    capture = Capture("shop", "blue", Collector({"request": Collection()}))
    capture.add(captured(at=1_700_000_000))
    writer = Writer(tmp_path)
    writer.write([capture])
    file = made(tmp_path)
    writer.close()
    (row,) = parquet.read_table(file).to_pylist()
    assert (row["data"], row["status"], row["headers"]) == ('{"data":[1]}', 200, '{"x-user":"me"}')


def test_what_the_server_before_has_left_becomes_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "shop" / "blue" / "request" / "2020" / "01" / "02"
    folder.mkdir(parents=True)
    (folder / "10.jsonl").write_bytes(b'{"id": "1"}\n')
    (folder / "10-0.jsonl").write_bytes(b'{"id": "of a script, which has it open"}\n')
    writer = Writer(tmp_path)
    writer.find()
    writer.write([])
    made(tmp_path)
    writer.close()
    assert sorted(one.name for one in folder.iterdir()) == ["10-0.jsonl", "10.parquet"]


def test_the_server_itself_makes_no_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    (tmp_path / "10.jsonl").write_bytes(b'{"id": "1"}\n')
    program = (
        "import sys, time, pathlib\nfrom serve.gateway.collect import Writer\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\nwriter = Writer(folder)\nwriter.find()\nwriter.write([])\n"
        "while (folder / '10.jsonl').exists():\n    time.sleep(0.02)\n"
        "writer.close()\nassert not any(name.startswith('pyarrow') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert [one.name for one in tmp_path.iterdir()] == ["10.parquet"]


def test_lines_that_come_late_do_not_take_the_place_of_the_others(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for number in (1, 2):
        (tmp_path / "10.jsonl").write_bytes(b'{"id": "%d"}\n' % number)
        to_parquet(tmp_path / "10.jsonl")
    found = {file.name: parquet.read_table(file).column("id").to_pylist() for file in tmp_path.iterdir()}
    assert found == {"10.parquet": ["1"], "10-1.parquet": ["2"]}


def test_a_long_file_is_read_in_groups_of_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "10.jsonl"
    file.write_bytes(b"".join(b'{"id": "%d", "status": 200}\n' % number for number in range(ROWS + 1)))
    made = parquet.ParquetFile(to_parquet(file))
    assert (made.num_row_groups, made.metadata.num_rows) == (2, ROWS + 1)
    assert made.read_row_group(1).column("status").to_pylist() == [200]


def test_a_line_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    capture, writer = Capture("shop", "blue", Collector({"request": Collection()})), Writer(tmp_path)
    capture.add(captured())
    writer.write([capture])
    (file,) = tmp_path.rglob("*.jsonl")
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        capture.add(captured())
        writer.write([capture])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (file.read_bytes(), capture.dropped) == (before, 1)
    capture.add(captured())
    writer.write([capture])
    assert len([orjson.loads(line) for line in file.read_bytes().splitlines()]) == 2


def test_half_a_line_of_a_disk_that_was_full_is_left_out(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "10.jsonl"
    file.write_bytes(b'{"id": "1"}\n{"id"')
    assert parquet.read_table(to_parquet(file)).column("id").to_pylist() == ["1"]
    assert [one.name for one in tmp_path.iterdir()] == ["10.parquet"]


def test_what_waits_is_bounded_and_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    capture = Capture("shop", "blue", Collector({"request": Collection()}))
    large = captured(b"x" * 2**20)
    for _ in range(50):
        capture.add(large)
    waiting = MAX_WAITING // large.size
    assert capture.dropped == 50 - waiting
    blocked = tmp_path / "shop"
    blocked.write_text("a file, not a folder")
    Writer(tmp_path).write([capture])
    assert capture.dropped == 50
    assert capture.take().count == 0
