"""The front matter of a .prompty: every mistake at once, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptflow.contracts.prompty import load_prompty_file, read_prompty_file
from promptflow.exceptions import InvalidConnectionError, UserErrorException, YamlParseError

MODEL = "model:\n  configuration: {type: openai, model: m}\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "p.prompty"
    file.write_text(text, encoding="utf-8")
    return file


def problems(folder: Path, front: str) -> list[tuple[int, int, str]]:
    with pytest.raises(UserErrorException) as caught:
        load_prompty_file(write(folder, f"---\n{front}---\nuser:\nx\n"))
    return [(p.line, p.column, p.message) for p in caught.value.problems]  # type: ignore[attr-defined]


def test_front_matter_and_prompt_are_taken_apart(tmp_path: Path) -> None:
    prompty = load_prompty_file(write(tmp_path, f"---\nname: n\n{MODEL}---\nuser:\n\n---\nx\n"))
    assert prompty.data["name"] == "n"
    assert prompty.template == "user:\n\n---\nx\n"


@pytest.mark.parametrize("start", ["", "\n\n", "\ufeff"])
def test_blank_lines_and_marks_before_it_do_not_matter(tmp_path: Path, start: str) -> None:
    assert load_prompty_file(write(tmp_path, f"{start}---\r\n{MODEL}----  \r\nuser:\r\n")).template == "user:\n"


@pytest.mark.parametrize("text", ["", "user:\nhi", "---\nname: x\nuser:\n"])
def test_without_front_matter_it_is_no_prompty(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserErrorException, match="two lines of dashes"):
        load_prompty_file(write(tmp_path, text))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    front = (
        "name: n\n"
        "model:\n"
        "  apis: chat\n"
        "  configuration: text\n"
        "  parameters: [1]\n"
        "inputs:\n"
        "  q: string\n"
        "sample: 5\n"
        "template: mustache\n"
    )
    found = problems(tmp_path, front)
    assert [(line, column) for line, column, _ in found] == [(4, 3), (6, 3), (5, 3), (8, 3), (9, 1), (10, 1)]
    assert "'apis'" in found[0][2] and "mustache" in found[5][2]


@pytest.mark.parametrize(
    ("front", "line", "words"),
    [
        ("name: n\n", 2, "'model' must be a mapping"),
        ("model: gpt\n", 2, "'model' must be a mapping"),
        ("model:\n  api: chat\n", 2, "no 'configuration'"),
        (f"{MODEL}inputs: [q]\n", 4, "'inputs' must be a mapping"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, front: str, line: int, words: str) -> None:
    ((at, _, message),) = problems(tmp_path, front)
    assert at == line and words in message


def test_a_connection_and_its_keys_exclude_each_other(tmp_path: Path) -> None:
    front = "model:\n  configuration:\n    type: openai\n    api_key: k\n    connection: c\n"
    with pytest.raises(InvalidConnectionError, match="Cannot configure model config and connection") as caught:
        load_prompty_file(write(tmp_path, f"---\n{front}---\nx"))
    assert caught.value.location.startswith(f"{tmp_path / 'p.prompty'}:6:5")


def test_a_syntax_error_has_its_line_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(YamlParseError) as caught:
        load_prompty_file(write(tmp_path, "---\nname: n\nmodel: [\n---\nx"))
    assert caught.value.location.startswith(f"{tmp_path / 'p.prompty'}:")
    assert int(caught.value.location.split(":")[1]) in (3, 4)


def test_what_is_no_utf8_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "p.prompty"
    file.write_bytes(b"---\nname: \xff\n---\n")
    with pytest.raises(UserErrorException, match="not UTF-8"):
        read_prompty_file(file)
