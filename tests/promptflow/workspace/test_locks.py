from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from promptflow.exceptions import WorkspaceError
from promptflow.workspace.atomic import replacing, write_whole
from promptflow.workspace.locks import file_lock


def test_a_lock_has_one_holder_among_threads(tmp_path: Path) -> None:
    inside: list[int] = []

    def work() -> None:
        with file_lock(tmp_path / "lock"):
            inside.append(1)
            assert len(inside) == 1
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == []


def test_a_lock_held_too_long_is_an_error_that_names_it(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock"):
        with pytest.raises(WorkspaceError, match=f"{tmp_path / 'lock'}"), file_lock(tmp_path / "lock", timeout=0):
            pass


def test_a_killed_holder_lets_go(tmp_path: Path, start_python: Callable[..., subprocess.Popen[str]]) -> None:
    code = (
        "import sys, time; from pathlib import Path; from promptflow.workspace.locks import file_lock\n"
        "with file_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    holder = start_python(code, str(tmp_path / "lock"))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    with file_lock(tmp_path / "lock", timeout=10):
        pass


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "a"
    write_whole(file, b"old")
    with pytest.raises(KeyError), replacing(file) as out:
        out.write(b"ne")
        raise KeyError
    assert file.read_bytes() == b"old"
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(WorkspaceError, match=f"Cannot write {tmp_path / 'a'}"):
        write_whole(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
