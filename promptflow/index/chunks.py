"""Files -> pieces of text that are short enough to be found by what they say."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from promptflow.exceptions import UserErrorException, ValidationException

TEXTS = (".md", ".txt", ".rst", ".markdown")
PAGES = (".html", ".htm")
ROWS = (".jsonl", ".csv")
SIZE = 1000  # characters of a piece: about 250 tokens, which every embedding model takes
LARGEST = 100 * 2**20  # bytes; a text that is larger was not meant
_PARAGRAPHS = re.compile(r"\n\s*\n")
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n")
_HEADING = re.compile(r"#{1,6}\s+(.+)")


@dataclass(frozen=True)
class Chunk:
    """A piece of a text. ``metadata``: its file (``source``), the ``title`` above it, the other columns of a row."""

    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class Reading:
    """What came of reading: the pieces, and the files that hold no text with the reason."""

    chunks: list[Chunk] = field(default_factory=list)
    files: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


def read_chunks(data: Path, *, column: str = "text", size: int = SIZE) -> Reading:
    """The pieces of a file, or of all files under a folder. ``column`` is where rows have their text. Raises where the
    one file that was named cannot be read; in a folder such a file is skipped."""
    if size < 50:
        raise ValidationException(f"Pieces of {size} characters say nothing.", hint="50 or more; 1000 is usual")
    if not data.exists():
        raise UserErrorException(f"There is no file or folder {data}.")
    reading = Reading()
    for file in [data] if data.is_file() else sorted(_files(data)):
        name = file.name if data.is_file() else str(file.relative_to(data))
        try:
            found = list(_chunks(file, name, column, size))
        except (UserErrorException, UnicodeDecodeError, OSError) as error:
            if data.is_file():
                raise _unreadable(file, error) from error
            reading.skipped[name] = _reason(error)
            continue
        reading.chunks += found
        reading.files += 1
    if not reading.chunks:
        raise UserErrorException(
            f"There is no text in {data}.", hint=f"files that are read: {', '.join((*TEXTS, *PAGES, *ROWS))}"
        )
    return reading


def split(text: str, size: int = SIZE) -> list[str]:
    """``text`` in pieces of at most ``size`` characters: whole paragraphs, else whole sentences, else cut."""
    pieces: list[str] = []
    for part in _parts(text, size):
        if pieces and len(pieces[-1]) + len(part) + 2 <= size:
            pieces[-1] += f"\n\n{part}"
        else:
            pieces.append(part)
    return pieces


def _parts(text: str, size: int) -> Iterator[str]:
    for paragraph in _PARAGRAPHS.split(text):
        if len(paragraph) <= size:
            yield from [paragraph.strip()] * bool(paragraph.strip())
            continue
        line = ""
        for sentence in _SENTENCES.split(paragraph):
            for start in range(0, len(sentence), size):
                words = sentence[start : start + size].strip()
                if line and len(line) + len(words) + 1 > size:
                    yield line
                    line = words
                else:
                    line = f"{line} {words}".strip()
        if line:
            yield line


def _files(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.is_file() and not hidden and file.suffix.lower() in (*TEXTS, *PAGES, *ROWS):
            yield file


def _chunks(file: Path, name: str, column: str, size: int) -> Iterator[Chunk]:
    suffix = file.suffix.lower()
    if file.stat().st_size > LARGEST:
        raise UserErrorException(f"it is larger than {LARGEST >> 20} MiB")
    if suffix in ROWS:
        yield from _rows(file, name, column, size)
    elif suffix in (*TEXTS, *PAGES):
        text = file.read_text(encoding="utf-8-sig")
        for title, part in _sections(text) if suffix in TEXTS else [_page(text)]:
            for piece in split(part, size):
                yield Chunk(piece, {"source": name, **({"title": title} if title else {})})
    else:
        raise UserErrorException(f"files of the kind {suffix or 'without an ending'} are not read")


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """The parts below Markdown's headings, each with the heading in it: it says what the part is about."""
    title, lines, fenced = "", list[str](), False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading:
            yield title, "\n".join(lines)
            title, lines = heading[1].strip(), []
        lines.append(line)
    yield title, "\n".join(lines)


def _rows(file: Path, name: str, column: str, size: int) -> Iterator[Chunk]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines) if file.suffix.lower() == ".csv" else map(_row, lines)
        for number, row in enumerate(rows, start=1):
            if row is None:
                continue
            if not isinstance(row, dict) or not isinstance(row.get(column), str):
                found = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
                raise UserErrorException(f"row {number} has no text in '{column}': {found}")
            others = {key: value for key, value in row.items() if key != column and key is not None}
            for piece in split(row[column], size):
                yield Chunk(piece, {"source": name, "row": number, **others})


def _row(line: str) -> Any:
    try:
        return json.loads(line) if line.strip() else None
    except ValueError as error:
        raise UserErrorException(f"a line is no JSON: {line.strip()[:60]!r}") from error


class _Text(HTMLParser):
    """The text of a page, without scripts and styles; its blocks are paragraphs."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.title = ""
        self._within = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("script", "style", "title"):
            self._within = tag
        elif tag in ("p", "div", "li", "tr", "br", "h1", "h2", "h3", "h4", "pre", "section", "table"):
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        self._within = "" if tag == self._within else self._within

    def handle_data(self, data: str) -> None:
        if self._within == "title":
            self.title += data
        elif not self._within:
            self.parts.append(data)


def _page(text: str) -> tuple[str, str]:
    parser = _Text()
    parser.feed(text)
    parser.close()
    return parser.title.strip(), "".join(parser.parts)


def _reason(error: Exception) -> str:
    return "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


def _unreadable(file: Path, error: Exception) -> UserErrorException:
    return UserErrorException(f"{file} cannot be read: {_reason(error)}.", location=str(file))
