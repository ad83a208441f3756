"""Files -> pieces."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.index.chunks import read_chunks, split


@pytest.mark.parametrize("size", [50, 80, 1000])
def test_no_piece_is_too_long_and_no_word_is_lost(size: int) -> None:
    text = "\n\n".join(f"Sentence {n} is here. And another one, number {n}, follows it." for n in range(40)) + "x" * 300
    pieces = split(text, size)
    assert all(0 < len(piece) <= size for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_pieces_of_markdown_know_their_heading(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Before.\n# One\nfirst\n```\n# no heading\n```\n## Two\nsecond\n")
    told = [(chunk.metadata.get("title"), chunk.text.split("\n")[0]) for chunk in read_chunks(tmp_path).chunks]
    assert told == [(None, "Before."), ("One", "# One"), ("Two", "## Two")]


def test_rows_keep_their_other_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "why", "text": "so"}\n\n{"q": "how", "text": "thus"}\n')
    (tmp_path / "b.csv").write_text("text,id\nhello,7\n")
    chunks = read_chunks(tmp_path).chunks
    assert [chunk.text for chunk in chunks] == ["so", "thus", "hello"]
    assert chunks[1].metadata == {"source": "a.jsonl", "row": 3, "q": "how"}
    assert chunks[2].metadata["id"] == "7"


def test_pages_lose_their_marks_and_scripts(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<title>T</title><script>no()</script><p>One &amp; two</p><p>three</p>")
    (chunk,) = read_chunks(tmp_path / "a.html").chunks
    assert (chunk.text, chunk.metadata["title"]) == ("One & two\n\nthree", "T")


def test_what_is_no_text_is_left_out_of_a_folder_and_an_error_alone(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00b\x00a\x00d")
    (tmp_path / "bad.jsonl").write_text('{"text": 1}')
    (tmp_path / ".hidden.txt").write_text("hidden")
    reading = read_chunks(tmp_path)
    assert [chunk.text for chunk in reading.chunks] == ["good"] and reading.files == 1
    assert set(reading.skipped) == {"bad.txt", "bad.jsonl"}
    for name in reading.skipped:
        with pytest.raises(UserErrorException, match="cannot be read"):
            read_chunks(tmp_path / name)


def test_no_text_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_text(" \n\n ")
    with pytest.raises(UserErrorException, match="no text"):
        read_chunks(tmp_path)
    with pytest.raises(UserErrorException, match="no file or folder"):
        read_chunks(tmp_path / "nope")
    with pytest.raises(ValidationException, match="say nothing"):
        read_chunks(tmp_path, size=3)
