import os
import resource
import threading

import pytest

from promptflow.exceptions import WorkspaceError
from promptflow.storage import sort
from promptflow.storage.encode import to_json
from promptflow.storage.jsonl import SortedLines, from_json, read_jsonl


def line(number: int, **more) -> bytes:
    return to_json({"line_number": number, **more})


def numbers(path) -> list[int]:
    return [row["line_number"] for row in read_jsonl(path)]


@pytest.mark.parametrize("at_once", [4 << 20, 100])
def test_lines_end_up_sorted_by_number(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(sort, "AT_ONCE", at_once)
    lines = SortedLines(tmp_path / "a.jsonl")
    order = [3, 1, 900, 2, 0, *range(10, 100), 8, -4]
    for number in order:
        lines.add(number, line(number, pad="x" * (number % 7)))
    lines.close()
    lines.close()
    assert numbers(tmp_path / "a.jsonl") == sorted(order)
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_second_name_stays_the_same_file(tmp_path, order):
    lines = SortedLines(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    for number in order:
        lines.add(number, line(number))
        assert numbers(tmp_path / "b.jsonl")[-1] == number
    lines.close()
    assert numbers(tmp_path / "b.jsonl") == [0, 1, 2]
    assert os.path.samefile(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("value", [2**70, -(2**70), 2**64 - 1, "\ud800", 'a": "b', [0.1, None, {"a": [1]}]])
def test_what_is_written_is_read_as_it_was(value):
    assert from_json(to_json({"v": value})) == {"v": value}


def test_a_line_is_on_disk_as_soon_as_it_is_added(tmp_path):
    lines = SortedLines(tmp_path / "a.jsonl")
    lines.add(7, line(7))
    assert numbers(tmp_path / "a.jsonl") == [7]
    lines.close()


def test_a_line_that_does_not_fit_on_the_disk_leaves_none_of_it(tmp_path):
    lines = SortedLines(tmp_path / "a.jsonl")
    lines.add(1, line(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(WorkspaceError):
            lines.add(0, line(0, pad="x" * 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    lines.add(2, line(2))
    lines.close()
    assert (tmp_path / "a.jsonl").read_bytes() == line(1) + b"\n" + line(2) + b"\n"


def test_many_threads_may_add(tmp_path):
    lines = SortedLines(tmp_path / "a.jsonl")
    threads = [
        threading.Thread(target=lambda start=start: [lines.add(n, line(n)) for n in range(start, 400, 4)])
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.close()
    assert numbers(tmp_path / "a.jsonl") == list(range(400))


def test_a_cut_off_last_line_is_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n": ')
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [{"n": 1}]
    assert list(read_jsonl(tmp_path / "missing.jsonl")) == []
