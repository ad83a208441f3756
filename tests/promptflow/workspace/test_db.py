from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, exc, text

from promptflow.exceptions import MissingExtraError, WorkspaceError
from promptflow.workspace import Workspace
from promptflow.workspace.db import Database
from promptflow.workspace.dberrors import mask_password
from tests.postgresql import PASSWORD, PASSWORD_IN_URL, Server

Start = Callable[..., "subprocess.Popen[str]"]

WRITER = """
import sys
from promptflow.workspace import Workspace
name, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
workspace = Workspace.open(database_url=url)
for number in range(count):
    workspace.events.append("test.written", name, {"number": number})
    with workspace.db.write(lock="total"):
        row = workspace.store.get("meta", "total") or {"name": "total", "value": "0"}
        workspace.store.put("meta", {**row, "value": str(int(row["value"]) + 1)})
    workspace.store.list("events", limit=5)
"""


def count(workspace: Workspace, table: str) -> int:
    with workspace.db.read() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


@pytest.mark.timeout(120)
def test_processes_that_create_and_write_one_database_at_once_lose_nothing(
    workspace: Workspace, database_url: str, start_python: Start
) -> None:
    writers = [start_python(WRITER, f"w{number}", database_url, "40") for number in range(4)]
    for writer in writers:
        assert writer.communicate(timeout=100)[1] == ""
    assert workspace.store.get("meta", "total")["value"] == "160"  # type: ignore[index]
    events = workspace.events.list()
    assert len(events) == 160
    assert [e.payload["number"] for e in events if e.subject == "w2"] == list(range(40))


def test_threads_write_one_database_at_once(workspace: Workspace) -> None:
    def write(name: str) -> None:
        for number in range(10):
            workspace.store.put("meta", {"name": f"{name}.{number}", "value": "x"})

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(workspace, "meta") == 200


def test_a_reader_neither_waits_for_a_writer_nor_sees_its_half(workspace: Workspace, database_url: str) -> None:
    workspace.store.put("meta", {"name": "a", "value": "old"})
    other = Workspace.open(workspace.home, database_url)
    with workspace.db.write():
        workspace.store.put("meta", {"name": "a", "value": "new"})
        assert other.store.get("meta", "a") == {"name": "a", "value": "old"}
    assert other.store.get("meta", "a") == {"name": "a", "value": "new"}
    other.close()


def test_a_killed_writer_leaves_nothing_half_written(
    workspace: Workspace, database_url: str, start_python: Start
) -> None:
    code = """
import sys
from promptflow.workspace import Workspace
workspace = Workspace.open(database_url=sys.argv[1])
with workspace.db.write():
    workspace.store.put("meta", {"name": "half", "value": "written"})
    print("inside", flush=True)
    sys.stdin.read()
    import time; time.sleep(60)
"""
    workspace.store.put("meta", {"name": "before", "value": "x"})
    writer = start_python(code, database_url)
    assert writer.stdout is not None and writer.stderr is not None
    assert writer.stdout.readline() == "inside\n"
    writer.kill()
    writer.communicate()
    workspace.store.put("meta", {"name": "after", "value": "x"})
    assert [row["name"] for row in workspace.store.list("meta")] == ["after", "before"]


def test_a_forked_child_uses_connections_of_its_own(workspace: Workspace) -> None:
    workspace.store.put("meta", {"name": "parent", "value": "x"})
    pid = os.fork()
    if pid == 0:
        try:
            workspace.store.put("meta", {"name": "child", "value": "x"})
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    workspace.store.put("meta", {"name": "parent", "value": "y"})
    assert [row["name"] for row in workspace.store.list("meta")] == ["child", "parent"]


def test_a_broken_rule_is_the_callers_to_handle(workspace: Workspace) -> None:
    workspace.store.append("meta", [{"name": "a", "value": "x"}])
    with pytest.raises(exc.IntegrityError) as caught:
        workspace.store.append("meta", [{"name": "a", "value": "sesame"}])
    assert "sesame" not in str(caught.value)


def test_a_closed_workspace_can_be_used_again(workspace: Workspace) -> None:
    workspace.store.put("meta", {"name": "a", "value": "x"})
    workspace.close()
    assert count(workspace, "meta") == 1


def test_a_broken_rule_in_an_inner_transaction_leaves_the_outer_one_whole(workspace: Workspace) -> None:
    with workspace.db.write():
        workspace.store.append("meta", [{"name": "a", "value": "x"}])
        with pytest.raises(exc.IntegrityError):
            workspace.store.append("meta", [{"name": "a", "value": "y"}])
        workspace.store.append("meta", [{"name": "b", "value": "x"}])
    assert [row["name"] for row in workspace.store.list("meta")] == ["a", "b"]


# -- disks ------------------------------------------------------------------------------------------------------------
def test_a_full_disk_is_an_error_and_nothing_is_half_written(small_disk: Path) -> None:
    workspace = Workspace.open(small_disk, "")
    workspace.store.put("meta", {"name": "before", "value": "x"})
    filler = small_disk / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(WorkspaceError, match="disk is full") as caught, workspace.db.write():
        for number in range(300):
            workspace.store.put("meta", {"name": f"big{number}", "value": "x" * 10_000})
    assert "free some space" in caught.value.hint
    filler.unlink()
    assert [row["name"] for row in workspace.store.list("meta")] == ["before"]
    workspace.store.put("meta", {"name": "after", "value": "x"})
    assert count(workspace, "meta") == 2
    workspace.close()


def test_a_transaction_that_a_full_disk_undid_cannot_go_on(small_disk: Path) -> None:
    workspace = Workspace.open(small_disk, "")
    workspace.store.put("meta", {"name": "before", "value": "x"})
    with pytest.raises(WorkspaceError, match="undone by an earlier error"), workspace.db.write():
        with pytest.raises(WorkspaceError, match="disk is full"):
            workspace.store.put("meta", {"name": "big", "value": "x" * 3_000_000})
        workspace.store.put("meta", {"name": "after", "value": "x"})
    assert [row["name"] for row in workspace.store.list("meta")] == ["before"]
    workspace.close()


def test_a_file_that_may_not_grow_is_an_error_and_nothing_is_half_written(
    home: Path, run_python: Callable[..., str]
) -> None:
    code = """
import resource
from promptflow.exceptions import WorkspaceError
from promptflow.workspace import Workspace
workspace = Workspace.open()
workspace.store.put("meta", {"name": "before", "value": "x"})
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    workspace.store.put_many("meta", [{"name": f"big{n}", "value": "x" * 10_000} for n in range(300)])
except WorkspaceError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print([row["name"] for row in workspace.store.list("meta")])
"""
    message, names = run_python(code).splitlines()
    assert message.startswith(f"Cannot use the workspace database sqlite:///{home / 'workspace.sqlite'}: ")
    assert names == "['before']"


def test_a_disk_that_is_full_from_the_start_leaves_no_tables(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    workspace = Workspace.open(small_disk, "")
    with pytest.raises(WorkspaceError, match="full|cannot be opened"):
        workspace.store.list("meta")
    filler.unlink()
    assert workspace.store.list("meta") == []
    workspace.close()


def test_a_read_only_folder_is_an_error(tmp_path: Path, make_read_only: Callable[[Path], None]) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    make_read_only(folder)
    workspace = Workspace.open(folder, "")
    for use in (lambda: workspace.store.list("meta"), workspace.require_writable, lambda: workspace.blobs.put(b"x")):
        with pytest.raises(WorkspaceError, match="read-only|[Pp]ermission denied") as caught:
            use()
        assert "PF_HOME_DIRECTORY" in caught.value.hint


def test_a_database_in_a_read_only_folder_cannot_be_written(
    tmp_path: Path, make_read_only: Callable[[Path], None]
) -> None:
    folder = tmp_path / "home"
    with Workspace.open(folder, "") as workspace:
        workspace.store.put("meta", {"name": "a", "value": "x"})
    make_read_only(folder)
    with Workspace.open(folder, "") as workspace:
        with pytest.raises(WorkspaceError, match="read-only|cannot be opened"):
            workspace.store.put("meta", {"name": "b", "value": "x"})


@pytest.mark.parametrize("below", ["a_file/home", "/proc/nowhere/home"])
def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, below: str) -> None:
    (tmp_path / "a_file").write_text("")
    workspace = Workspace.open(tmp_path / below, "")
    with pytest.raises(WorkspaceError, match="Cannot create the folder"):
        workspace.store.list("meta")
    with pytest.raises(WorkspaceError, match="Cannot create the folder"):
        workspace.require_writable()


@pytest.mark.parametrize("content", [b"not a database" * 500, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_an_error(home: Path, content: bytes) -> None:
    (home / "workspace.sqlite").write_bytes(content)
    with pytest.raises(WorkspaceError, match="not a database|damaged"):
        Workspace.open().store.list("meta")
    assert (home / "workspace.sqlite").read_bytes() == content


# -- servers ----------------------------------------------------------------------------------------------------------
def test_a_server_that_goes_away_is_an_error_and_works_again_when_it_is_back(home: Path, postgresql: Server) -> None:
    workspace = Workspace.open(home, postgresql.new_database())
    workspace.store.put("meta", {"name": "before", "value": "x"})
    with pytest.raises(WorkspaceError), workspace.db.write():
        workspace.store.put("meta", {"name": "during", "value": "x"})
        postgresql.stop()
        workspace.store.put("meta", {"name": "during too", "value": "x"})
    try:
        with pytest.raises(WorkspaceError, match="Cannot reach the workspace database") as caught:
            workspace.store.list("meta")
        assert "pf:***@127.0.0.1" in str(caught.value)
    finally:
        postgresql.start()
    assert [row["name"] for row in workspace.store.list("meta")] == ["before"]
    workspace.store.put("meta", {"name": "after", "value": "x"})
    workspace.close()


def test_connections_cut_between_two_uses_are_made_anew(home: Path, postgresql: Server) -> None:
    workspace = Workspace.open(home, postgresql.new_database())
    workspace.store.put("meta", {"name": "a", "value": "x"})
    postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert workspace.store.get("meta", "a")
    workspace.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.replace(PASSWORD_IN_URL, "wrong-secret"), "Cannot reach"),
        (lambda url: url.replace("/test_", "/absent_"), "does not exist"),
        (lambda url: url.replace("127.0.0.1", "127.0.0.2"), "refused"),
    ],
)
def test_a_wrong_url_is_an_error_without_its_password(
    home: Path, postgresql: Server, change: Callable[[str], str], message: str
) -> None:
    workspace = Workspace.open(home, change(postgresql.new_database()))
    with pytest.raises(WorkspaceError, match=message) as caught:
        workspace.store.list("meta")
    shown = f"{caught.value} {caught.value.hint} {workspace.db!r} {caught.value.__cause__}"
    assert not any(secret in shown for secret in (PASSWORD, PASSWORD_IN_URL, "wrong-secret"))


def test_a_database_full_of_another_programs_tables_is_left_alone(workspace: Workspace, database_url: str) -> None:
    engine = create_engine(Database(database_url).url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE spans (id INTEGER)"))
    with pytest.raises(WorkspaceError, match="another program"):
        workspace.store.list("meta")
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM spans")).scalar() == 0
        with pytest.raises(exc.DBAPIError):
            connection.execute(text("SELECT count(*) FROM runs"))
    engine.dispose()


@pytest.mark.parametrize("url", ["nonsense", "mysql://u:secret@host/db", "postgresql://u:secret@host:port/db"])
def test_a_url_of_no_database_is_an_error(home: Path, url: str) -> None:
    with pytest.raises(WorkspaceError, match="not valid") as caught:
        Workspace.open(home, url).store.list("meta")
    assert "secret" not in str(caught.value)


def test_a_missing_driver_names_its_extra(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MissingExtraError) as caught:
        Workspace.open(home, "postgresql://u@127.0.0.1/db").store.list("meta")
    assert caught.value.hint == "pip install 'promptflow[postgres]'"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p/w:x@y@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h/d?user=u&password=p&x=1", "postgresql://h/d?user=u&password=***&x=1"),
        ("sqlite:////home/u/a.sqlite", "sqlite:////home/u/a.sqlite"),
    ],
)
def test_passwords_are_masked(url: str, masked: str) -> None:
    assert mask_password(url) == masked
