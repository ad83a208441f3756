import os
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

from promptflow.exceptions import WorkspaceError
from promptflow.storage import journal
from promptflow.storage.journal import Journal, read_journal, segments


def texts(folder: Path) -> list[bytes]:
    return [text for _, text in read_journal(folder)]


def written(folder: Path, *records: bytes, head: tuple[bytes, ...] = ()) -> None:
    opened = Journal(folder, head)
    for record in records:
        opened.append(record)
    opened.close()


def test_records_come_back_in_order(tmp_path):
    written(tmp_path / "j", b"a", b'{"b": "\xc3\xa4"}', b"", head=(b"head",))
    assert texts(tmp_path / "j") == [b"head", b"a", b'{"b": "\xc3\xa4"}', b""]
    assert texts(tmp_path / "none") == []


def test_every_opening_starts_a_segment(tmp_path):
    written(tmp_path, b"a", head=(b"1",))
    written(tmp_path, b"b", head=(b"2",))
    assert list(read_journal(tmp_path)) == [(0, b"1"), (0, b"a"), (1, b"2"), (1, b"b")]


def test_full_segments_are_compressed(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1000)
    records = [b"%03d" % n + b"x" * 90 for n in range(100)]
    written(tmp_path, *records, head=(b"head", b"once"))
    found = texts(tmp_path)
    assert [text for text in found if text not in (b"head", b"once")] == records
    assert found.count(b"head") == len(segments(tmp_path)) > 5
    assert found.count(b"once") == 1
    assert {path.suffix for _, path in segments(tmp_path)[:-1]} == {".gz"}
    assert sum(path.stat().st_size for _, path in segments(tmp_path)) < 6000


def test_a_record_larger_than_a_segment_has_one_to_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 100)
    records = [b"a" * 300, b"b" * 5, b"c" * 3_000_000]
    written(tmp_path, *records)
    assert texts(tmp_path) == records


@pytest.mark.parametrize("sealed", [False, True])
def test_a_journal_cut_anywhere_in_its_last_record_loses_that_record_alone(tmp_path, monkeypatch, sealed):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 60 if sealed else 1000)
    whole = tmp_path / "whole"
    written(whole, b"first record", b"second record", b"the last record")
    *rest, (_, last) = segments(whole)
    data = last.read_bytes()
    start = data.rindex(b"\n", 0, -1) + 1 if data.count(b"\n") > 1 else 0
    for end in range(start, len(data) + 1):
        folder = tmp_path / str(end)
        folder.mkdir()
        for _, path in rest:
            os.link(path, folder / path.name)
        (folder / last.name).write_bytes(data[:end])
        kept = [b"first record", b"second record"] + [b"the last record"] * (end == len(data))
        assert texts(folder) == kept
        written(folder, b"after")
        assert texts(folder) == [*kept, b"after"]


@pytest.mark.parametrize("damage", [b"\0" * 500, b"zz", b"\n\n\n", b"00000000 no\n", b'{"line": 1}\n', b"\xff" * 9])
def test_what_is_no_record_is_passed_over_and_cut_off(tmp_path, damage):
    written(tmp_path, b"a")
    file = segments(tmp_path)[0][1]
    whole = file.read_bytes()
    file.write_bytes(whole + damage)
    assert texts(tmp_path) == [b"a"]
    Journal(tmp_path).close()
    assert texts(tmp_path) == [b"a"]
    assert zlib.decompress(file.with_name("000000.log.gz").read_bytes(), 31) == whole


def test_damage_in_the_middle_costs_the_records_it_hits(tmp_path):
    written(tmp_path, b"a" * 50, b"b" * 50, b"c" * 50)
    file = segments(tmp_path)[0][1]
    data = bytearray(file.read_bytes())
    data[80] ^= 1
    file.write_bytes(data)
    assert texts(tmp_path) == [b"a" * 50, b"c" * 50]


def test_a_damaged_compressed_segment_is_told_of_and_the_others_are_read(tmp_path, caplog):
    written(tmp_path, *[os.urandom(300).hex().encode() for _ in range(1000)])
    written(tmp_path, b"later")
    first = segments(tmp_path)[0][1]
    assert first.suffix == ".gz"
    data = bytearray(first.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20] = b"\0" * 20
    first.write_bytes(data)
    found = texts(tmp_path)
    assert found[-1] == b"later"
    assert len(found) < 1001
    assert "is damaged" in caplog.text


def test_a_crash_while_a_segment_is_compressed_loses_nothing(tmp_path):
    written(tmp_path, b"a")
    plain = segments(tmp_path)[0][1]
    data = plain.read_bytes()
    plain.with_name(f"{plain.name}.tmp").write_bytes(b"\x1f\x8bhalf")
    written(tmp_path, b"b")
    sealed = segments(tmp_path)[0][1]
    plain.write_bytes(data)  # the compressed file is in place, the other not yet gone
    assert texts(tmp_path) == [b"a", b"b"]
    Journal(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir())[:2] == [sealed.name, "000001.log.gz"]


def test_threads_append_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 5000)
    opened = Journal(tmp_path)
    threads = [
        threading.Thread(target=lambda t=t: [opened.append(b"%d-%03d" % (t, n)) for n in range(500)]) for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened.close()
    found = texts(tmp_path)
    assert sorted(found) == [b"%d-%03d" % (t, n) for t in range(4) for n in range(500)]
    for t in range(4):
        mine = [text for text in found if text.startswith(b"%d-" % t)]
        assert mine == sorted(mine)


def test_a_closed_journal_takes_no_more(tmp_path):
    opened = Journal(tmp_path)
    opened.close()
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        opened.append(b"late")


_KILLED = """
import sys
from pathlib import Path
from promptflow.storage import journal
journal.SEGMENT_BYTES = 20_000
opened = journal.Journal(Path(sys.argv[1]))
number = 0
while True:
    opened.append(b"%08d" % number + b"." * (number % 200))
    number += 1
    print(number, flush=True)
"""


def test_what_was_appended_is_there_after_a_kill(tmp_path):
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        child = subprocess.Popen([sys.executable, "-c", _KILLED, str(folder)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        told = 0
        for line in child.stdout:
            told = int(line)
            if told >= 300 * (attempt + 1):
                child.send_signal(signal.SIGKILL)
                break
        rest = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        told = int(rest[-1]) if rest else told
        numbers = [int(text[:8]) for text in texts(folder)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) in (told, told + 1)


_FULL = """
import resource, signal, sys
from pathlib import Path
from promptflow.exceptions import WorkspaceError
from promptflow.storage.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
opened = Journal(Path(sys.argv[1]))
opened.append(b"a" * 500)
resource.setrlimit(resource.RLIMIT_FSIZE, (800, resource.RLIM_INFINITY))
try:
    opened.append(b"b" * 500)
except WorkspaceError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
opened.append(b"c" * 500)
opened.close()
"""


def test_a_full_disk_is_told_and_leaves_no_half_record(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "j")], capture_output=True, text=True, check=True
    )
    assert "Cannot write" in done.stdout
    assert texts(tmp_path / "j") == [b"a" * 500, b"c" * 500]
    file = segments(tmp_path / "j")[0][1]
    assert file.read_bytes().count(b"\n") == 2


def test_a_disk_that_fails_to_synchronize_ends_the_journal(tmp_path, monkeypatch):
    opened = Journal(tmp_path)
    monkeypatch.setattr(journal, "_to_disk", lambda file: (os.close(file), (_ for _ in ()).throw(OSError(5, "I/O")))[1])
    opened.append(b"a")
    with pytest.raises(WorkspaceError, match="I/O"):
        opened.close()
