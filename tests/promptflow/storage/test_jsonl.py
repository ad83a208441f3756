import threading

from promptflow.storage.jsonl import SortedLines, read_jsonl


def test_lines_end_up_sorted_by_number(tmp_path):
    lines = SortedLines(tmp_path / "a.jsonl")
    for number in (3, 1, 2, 0):
        lines.add(number, b'{"n": %d, "pad": "%s"}' % (number, b"x" * number))
    lines.close()
    lines.close()
    assert [row["n"] for row in read_jsonl(tmp_path / "a.jsonl")] == [0, 1, 2, 3]
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_line_is_on_disk_as_soon_as_it_is_added(tmp_path):
    lines = SortedLines(tmp_path / "a.jsonl")
    lines.add(7, b'{"n": 7}')
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [{"n": 7}]
    lines.close()


def test_many_threads_may_add(tmp_path):
    lines = SortedLines(tmp_path / "a.jsonl")
    threads = [
        threading.Thread(target=lambda start=start: [lines.add(n, b'{"n": %d}' % n) for n in range(start, 400, 4)])
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.close()
    assert [row["n"] for row in read_jsonl(tmp_path / "a.jsonl")] == list(range(400))


def test_a_cut_off_last_line_is_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n": ')
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [{"n": 1}]
    assert list(read_jsonl(tmp_path / "missing.jsonl")) == []
