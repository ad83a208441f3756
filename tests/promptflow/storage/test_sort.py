import os
import random
import resource
from itertools import groupby

import pytest

from promptflow.exceptions import WorkspaceError
from promptflow.storage import sort
from promptflow.storage.sort import in_runs, sort_file

ROOM = 1000


def lines(numbers) -> list[bytes]:
    return [b"%d %s\n" % (number, b"x" * (number % 50)) for number in numbers]


def number_of(line: bytes) -> int:
    return int(line.split()[0])


def nearly_sorted(count: int) -> list[int]:
    return sorted(range(count), key=lambda n: n + random.Random(n).randrange(10))


def shuffled(count: int) -> list[int]:
    return random.Random(1).sample(range(-count // 2, count - count // 2), count)


@pytest.mark.parametrize(
    ("order", "runs"),
    [
        (range(500), 1),
        (nearly_sorted(500), 1),
        ([*range(1, 500), 0], 2),  # one line took very long
        (range(500, 0, -1), 15),
        ([7, 7, 7], 1),
        ([3], 1),
        ([], 0),
    ],
)
def test_runs_are_sorted_and_few(order, runs):
    found = {
        run: list(map(number_of, (line for _, line in pairs)))
        for run, pairs in groupby(in_runs(lines(order), number_of, ROOM), key=lambda pair: pair[0])
    }
    assert list(found) == list(range(runs))
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert sorted(number for numbers in found.values() for number in numbers) == sorted(order)


@pytest.mark.parametrize("order", [nearly_sorted, shuffled])
def test_no_more_than_asked_for_waits_in_memory(order):
    taken = given = most = 0

    def counted():
        nonlocal taken
        for line in lines(order(2000)):
            taken += len(line)
            yield line

    for _, line in in_runs(counted(), number_of, ROOM):
        most = max(most, taken - given)
        given += len(line)
    assert 0 < most <= ROOM + 2 * 60


@pytest.mark.parametrize("order", [nearly_sorted(3000), shuffled(3000), [*range(1, 3000), 0]])
def test_a_file_is_sorted_whatever_its_order(tmp_path, monkeypatch, order):
    monkeypatch.setattr(sort, "AT_ONCE", ROOM)
    path = tmp_path / "rows"
    path.write_bytes(b"".join(lines(order)))
    sort_file(path, number_of)
    assert path.read_bytes() == b"".join(lines(sorted(order)))
    assert os.listdir(tmp_path) == ["rows"]


def test_no_more_files_than_a_process_may_have_open(tmp_path, monkeypatch):
    monkeypatch.setattr(sort, "AT_ONCE", 1)
    path = tmp_path / "rows"
    path.write_bytes(b"".join(lines(range(5000, 0, -1))))
    sort_file(path, number_of)
    assert path.read_bytes() == b"".join(lines(range(1, 5001)))


def test_a_file_that_cannot_be_sorted_stays_as_it_was(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(b"".join(lines(shuffled(3000))))
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))  # like a disk that fills
    try:
        with pytest.raises(WorkspaceError, match="Cannot sort"):
            sort_file(path, number_of)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["rows"]
