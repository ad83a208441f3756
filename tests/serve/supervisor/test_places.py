"""Logs, from their ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve.supervisor.places import tail


@pytest.mark.parametrize("length", [1, 399, 401, 5000])
@pytest.mark.parametrize("wanted", [1, 2, 9, 50])
@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_lines_are_whole_however_long_they_are(tmp_path: Path, length: int, wanted: int, end: str) -> None:
    lines = [f"{number}{'é' * length}" for number in range(10)]
    (tmp_path / "0.log").write_text("\n".join(lines) + end)
    assert tail(tmp_path / "0.log", wanted) == lines[-wanted:]


def test_no_log_and_an_empty_one(tmp_path: Path) -> None:
    assert tail(tmp_path / "0.log", 3) == []
    (tmp_path / "0.log").touch()
    assert tail(tmp_path / "0.log", 3) == []
