"""The file of the node cache: shared, bounded, and never in the way."""

from __future__ import annotations

import logging
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptflow.exceptions import WorkspaceError
from promptflow.storage import cachefile
from promptflow.storage.cache import Cache

VALUE = b'"' + b"x" * 300 + b'"'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "nodes.db"


def key(number: int) -> bytes:
    return number.to_bytes(20, "big")


def fill(file: Path, *numbers: int, value: bytes = VALUE, max_size: int = 10**9) -> None:
    cache = Cache(file, max_size)
    for number in numbers:
        cache.put(key(number), value, 0, "run", "ask", number)
    cache.close()


def known(file: Path, *numbers: int) -> list[int]:
    cache = Cache(file)
    found = [number for number in numbers if cache.get(key(number)) is not None]
    cache.close()
    return found


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, logger="promptflow"):
        yield caplog


def test_a_result_is_found_at_once_and_by_the_next_process(file: Path) -> None:
    cache = Cache(file)
    cache.put(key(1), b"1", 4, "r", "ask", 7)
    assert cache.get(key(1)) == (b"1", 4, "r", "ask", 7)
    assert cache.get(key(2)) is None
    cache.close()
    code = (
        "import sys; from pathlib import Path; from promptflow.storage.cache import Cache; "
        "print(Cache(Path(sys.argv[1])).get((1).to_bytes(20, 'big')))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "Found(value=b'1', form=4, run='r', node='ask', line=7)"


def test_closing_in_the_moment_before_the_writer_sleeps_again_ends_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptflow.storage.cache.FLUSH_SECONDS", 0.01)
    cache = Cache(file)
    closer, begun = threading.Thread(target=cache.close, daemon=True), threading.Event()
    clear = cache._wake.clear

    def close_first() -> None:
        if not begun.is_set():
            closer.start()
            begun.set()
        while not cache._closing.is_set() or not cache._wake.is_set():
            pass
        clear()

    monkeypatch.setattr(cache._wake, "clear", close_first)
    cache.put(key(1), VALUE, 0, "run", "ask", 1)
    assert begun.wait(10)
    closer.join(10)
    assert not closer.is_alive()
    assert known(file, 1) == [1]


def test_large_results_are_compressed(file: Path) -> None:
    fill(file, 1, value=b"x" * 100_000)
    assert cachefile.newest(file, 1)[0]["size"] < 1000  # type: ignore[operator]
    cache = Cache(file)
    found = cache.get(key(1))
    assert found is not None and found.value == b"x" * 100_000 and found.form == 0
    cache.close()


def test_a_later_result_takes_the_place_of_an_earlier_one(file: Path) -> None:
    fill(file, 1, value=b"1")
    fill(file, 1, value=b"2")
    cache = Cache(file)
    assert cache.get(key(1)).value == b"2"  # type: ignore[union-attr]
    cache.close()
    assert cachefile.stats(file)["entries"] == 1


def test_the_least_recently_used_go_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    for module in ("promptflow.storage.cache", "promptflow.storage.cachefile"):
        monkeypatch.setattr(f"{module}.now", lambda: next(clock))
    fill(file, *range(1000))
    assert known(file, *range(100)) == list(range(100))
    removed = cachefile.prune(file, 200_000)
    assert 0 < removed < 900
    assert file.stat().st_size <= 200_000
    assert known(file, *range(100)) == list(range(100))
    assert known(file, *range(100, 100 + removed)) == []
    assert known(file, 999) == [999]


def test_it_keeps_to_its_size_while_it_is_written(file: Path) -> None:
    cache = Cache(file, 500_000)
    rng = random.Random(1)
    for number in range(4000):
        cache.put(key(number), rng.randbytes(300).hex().encode(), 0, "run", "ask", number)
    cache.close()
    fill(file, 4000, max_size=500_000)
    assert cachefile.stats(file)["bytes"] <= file.stat().st_size <= 500_000
    assert known(file, 0, 4000) == [4000]


def test_what_is_too_large_for_it_is_not_kept(file: Path) -> None:
    fill(file, 1, value=random.Random(1).randbytes(900), max_size=1000)
    assert known(file, 1) == []


def test_many_threads_and_processes_at_once(file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from promptflow.storage.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1])); start = int(sys.argv[2])\n"
        "for n in range(start, start + 2000): cache.put(n.to_bytes(20, 'big'), b'1', 0, 'r', 'n', n)\n"
        "assert all(cache.get(n.to_bytes(20, 'big')) for n in range(start, start + 2000)); cache.close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code, str(file), str(start)], stderr=subprocess.PIPE)
        for start in (0, 1000, 2000)
    ]
    cache = Cache(file)

    def work(start: int) -> None:
        for number in range(start, start + 500):
            cache.put(key(number), VALUE, 0, "run", "ask", number)
            assert cache.get(key(number)) is not None

    threads = [threading.Thread(target=work, args=(10_000 + 250 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.close()
    assert [child.communicate()[1] for child in children] == [b""] * 3
    assert [child.returncode for child in children] == [0, 0, 0]
    assert cachefile.stats(file)["entries"] == 4000 + 1250


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b"this is no database" * 1000),
        lambda file: file.write_bytes(file.read_bytes()[:5000]),
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: sqlite3.connect(file).execute("PRAGMA user_version = 99").connection.close(),
    ],
    ids=["other", "cut", "folder", "newer"],
)
def test_a_damaged_file_is_a_miss_with_one_warning(file: Path, damage, warned: pytest.LogCaptureFixture) -> None:
    fill(file, *range(50))
    damage(file)
    cache = Cache(file)
    assert [cache.get(key(number)) for number in range(50)] == [None] * 50
    cache.put(key(99), VALUE, 0, "run", "ask", 0)
    cache.close()
    assert len(warned.messages) == 1 and "pf cache clear" in warned.messages[0]
    with pytest.raises(WorkspaceError, match="cannot be used") as raised:
        cachefile.stats(file)
    assert raised.value.hint == "pf cache clear makes a new one"
    cachefile.clear(file)
    fill(file, 1)
    assert known(file, 1) == [1]


def test_a_flipped_bit_never_gives_a_wrong_result(file: Path, warned: pytest.LogCaptureFixture) -> None:
    values = {number: b'"%d %s"' % (number, b"y" * 50) for number in range(200)}
    cache = Cache(file)
    for number, value in values.items():
        cache.put(key(number), value, 0, "run", "ask", number)
    cache.close()
    whole = file.read_bytes()
    rng = random.Random(7)
    for _ in range(60):
        data = bytearray(whole)
        data[rng.randrange(100, len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        cache = Cache(file)
        for number, value in values.items():
            found = cache.get(key(number))
            assert found is None or found.value == value
        cache.close()


def test_a_locked_file_is_a_miss_with_one_warning(
    file: Path, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cachefile, "BUSY_SECONDS", 0.05)
    fill(file, 1)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    cache = Cache(file)
    cache.put(key(2), VALUE, 0, "run", "ask", 2)
    cache.close()
    holder.close()
    assert len(warned.messages) == 1 and "locked" in warned.messages[0]
    assert known(file, 1) == [1]


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, warned: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = Cache(tmp_path / "cache" / "nodes.db")
    cache.put(key(1), VALUE, 0, "run", "ask", 1)
    cache.close()
    cache = Cache(tmp_path / "cache" / "nodes.db")
    assert cache.get(key(1)) is None
    cache.close()
    assert len(warned.messages) == 2


def test_clearing_does_not_disturb_who_uses_it(file: Path, warned: pytest.LogCaptureFixture) -> None:
    cache = Cache(file)
    cache.put(key(1), VALUE, 0, "run", "ask", 1)
    cachefile.clear(file)
    cache.put(key(2), VALUE, 0, "run", "ask", 2)
    assert cache.get(key(2)) is not None
    cache.close()
    assert warned.messages == []
    fill(file, 3)
    assert known(file, 3) == [3]
    cachefile.clear(file)
    cachefile.clear(file)
    assert cachefile.stats(file) == {"entries": 0, "bytes": 0, "nodes": 0}
    assert list(file.parent.parent.iterdir()) == []


@pytest.mark.parametrize("order", ["as made", "in turns", "any", "one again and again"])
def test_all_are_found_in_whatever_order(file: Path, order: str) -> None:
    count = 3000
    cache = Cache(file)
    for number in range(count):
        cache.put(key(number), b"%d" % number, 0, "run", "ask", number)
    cache.close()
    numbers = list(range(count))
    if order == "in turns":
        numbers = [number for start in range(count // 3) for number in range(start, count, count // 3)]
    elif order == "any":
        random.Random(3).shuffle(numbers)
    elif order == "one again and again":
        numbers = [5] * count
    cache = Cache(file)
    assert [cache.get(key(number)) for number in numbers] == [(b"%d" % n, 0, "run", "ask", n) for n in numbers]
    assert cache.get(key(count)) is None
    cache.close()
