from __future__ import annotations

import http.server
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import pytest

from promptflow.exceptions import DataFileError, MissingExtraError
from promptflow.workspace import urls


@pytest.mark.parametrize(
    ("text", "url", "shown", "name"),
    [
        ("s3://bucket/a/rows.jsonl", True, "s3://bucket/a/rows.jsonl", "rows.jsonl"),
        ("https://me:secret@host:1/a%20b.csv.gz?sig=secret", True, "https://host:1/a%20b.csv.gz", "a b.csv.gz"),
        ("memory://rows.jsonl", True, "memory://rows.jsonl", "rows.jsonl"),
        ("zip://rows.csv::s3://bucket/all.zip", True, "zip://rows.csv::s3://bucket/all.zip", "rows.csv"),
        ("simplecache::https://host/rows.csv", True, "simplecache::https://host/rows.csv", "rows.csv"),
        ("s3://bucket/folder/", True, "s3://bucket/folder/", "folder"),
        ("s3://bucket/..", True, "s3://bucket/..", ""),
    ],
)
def test_what_a_text_is(text: str, url: bool, shown: str, name: str) -> None:
    assert urls.is_url(text) is url
    assert urls.shown(text) == shown
    assert urls.file_name(text) == name


@pytest.mark.parametrize("text", ["file:///a/rows.csv", "/a/rows.csv", "rows::1.csv", "rows.csv"])
def test_what_is_no_url(text: str) -> None:
    assert not urls.is_url(text)
    assert urls.shown(text) == text


def test_paths_become_absolute_and_urls_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert urls.absolute("a/b.csv") == f"{tmp_path}/a/b.csv"
    assert urls.absolute("file:///a/b%20c.csv") == "/a/b c.csv"
    assert urls.absolute("s3://bucket/a") == "s3://bucket/a"


@pytest.fixture
def memory() -> str:
    """The url of an empty folder in memory."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def website(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A real HTTP server: its url, the folder that it serves."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_file_is_downloaded_once(memory: str, tmp_path: Path) -> None:
    with urls.writing(f"{memory}/rows.jsonl") as out:
        out.write(b'{"x": 1}\n')
    assert urls.exists(f"{memory}/rows.jsonl")
    assert not urls.exists(f"{memory}/other.jsonl")
    file = urls.download(f"{memory}/rows.jsonl", tmp_path / "in")
    assert (file.name, file.read_bytes()) == ("rows.jsonl", b'{"x": 1}\n')
    fsspec.filesystem("memory").rm(f"{memory}/rows.jsonl")
    assert urls.download(f"{memory}/rows.jsonl", tmp_path / "in") == file


def test_a_folder_is_downloaded_with_all_that_is_in_it(memory: str, tmp_path: Path) -> None:
    for name in ("a.jsonl", "deep/er/b.jsonl", "cat.png"):
        with urls.writing(f"{memory}/data/{name}") as out:
            out.write(name.encode())
    folder = urls.download(f"{memory}/data", tmp_path)
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert found == {"a.jsonl", "deep/er/b.jsonl", "cat.png"}


def test_a_file_comes_over_http(website: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = website
    (folder / "rows.jsonl").write_text('{"x": 1}\n')
    assert urls.exists(f"{url}/rows.jsonl?key=secret")
    assert urls.download(f"{url}/rows.jsonl?key=secret", tmp_path).read_text() == '{"x": 1}\n'


def test_what_cannot_be_read_is_told_without_its_secrets(website: tuple[str, Path], tmp_path: Path) -> None:
    url = f"{website[0]}/none.jsonl?key=secret"
    with pytest.raises(DataFileError, match="Cannot read .*none.jsonl: ") as caught:
        urls.download(url, tmp_path)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.glob("*.jsonl")) == []


def test_unknown_urls_and_missing_packages_are_told_apart() -> None:
    with pytest.raises(DataFileError, match="nosuch"):
        urls.exists("nosuch://bucket/rows.jsonl")
    with pytest.raises(MissingExtraError, match="hdfs|arrow|pyarrow|dask|libarchive|paramiko"):
        urls.exists("sftp://host/rows.jsonl")


def test_a_local_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.jsonl"
    with pytest.raises(RuntimeError), urls.writing(str(target)) as out:
        out.write(b"half")
        raise RuntimeError("stop")
    assert not target.exists()
    with urls.writing(f"file://{target}") as out:
        out.write(b"whole")
    assert target.read_bytes() == b"whole"
