"""Parts of files that go to the disk past the kernel's memory, and those that cannot."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.direct import ALIGNED, PartWriter, aligned

DATA = random.Random(5).randbytes(64 * ALIGNED + 123)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def writer(place: Path) -> Iterator[PartWriter]:
    with place.open("w+b", buffering=0) as file:
        writer = PartWriter(file.fileno(), place)
        yield writer
        writer.close()


def memory(data: bytes, shift: int = 0) -> memoryview:
    view = memoryview(aligned(len(data) + shift))[shift:]
    view[:] = data
    return view


def cached_pages(place: Path) -> bool:
    """Whether the kernel has a page of the file in memory, without waiting for the disk (RWF_NOWAIT)."""
    with place.open("rb", buffering=0) as file:
        try:
            return os.preadv(file.fileno(), [bytearray(16)], 0, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False


@pytest.mark.parametrize("rate", [0, 1e18], ids=["fast", "slow"])
def test_parts_in_any_order(writer: PartWriter, place: Path, monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    monkeypatch.setattr("catalog.direct._FAST", rate)
    middle = 40 * ALIGNED
    writer.write(middle, memory(DATA[middle:]))
    writer.write(0, memory(DATA[:middle]))
    assert place.read_bytes() == DATA


def test_what_comes_fast_leaves_the_memory_alone(
    writer: PartWriter, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if writer.straight is None or not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("this file system has no such way")
    monkeypatch.setattr("catalog.direct._FAST", 0)
    writer.write(0, memory(DATA[: 64 * ALIGNED]))
    try:
        there = cached_pages(place)
    except OSError:
        pytest.skip("this file system does not tell")
    assert not there
    monkeypatch.setattr("catalog.direct._FAST", 1e18)
    writer.write(0, memory(DATA[: 64 * ALIGNED]))
    assert cached_pages(place)


@pytest.mark.parametrize(("start", "shift"), [(1, 0), (0, 1), (ALIGNED, 7)])
def test_what_does_not_fit_the_disk_goes_the_other_way(
    writer: PartWriter, place: Path, monkeypatch: pytest.MonkeyPatch, start: int, shift: int
) -> None:
    monkeypatch.setattr("catalog.direct._FAST", 0)
    writer.write(start, memory(DATA, shift))
    assert place.read_bytes() == bytes(start) + DATA


def test_a_file_system_without_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_DIRECT", raising=False)
    with place.open("w+b", buffering=0) as file:
        PartWriter(file.fileno(), place).write(0, memory(DATA))
    assert place.read_bytes() == DATA
