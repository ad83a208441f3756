"""Where words go: results to stdout, everything else to stderr. Nothing else in the package prints."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, TextIO

from promptflow.cli import formats, query, style, table
from promptflow.cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Output:
    """The streams of one command and how it was asked to write on them. ``format`` is None where there is no `-o`."""

    format: str | None = None
    explicit: bool = False  # the format was asked for, it is no default
    query: str = ""  # of the result, this part only
    verbose: bool = False
    debug: bool = False
    no_color: bool = False
    no_progress: bool = False
    stdout: TextIO = field(default_factory=lambda: _open_or_nowhere(sys.stdout))
    stderr: TextIO = field(default_factory=lambda: _open_or_nowhere(sys.stderr))

    def result(
        self, value: Any, *, columns: Sequence[str] = (), priority: Sequence[str] = (), name: str = "name"
    ) -> None:
        """Write a record (dict) or a list of them in the format that was asked for."""
        if self.query:
            self._part(value)
            return
        ascii = not style.speaks_unicode(self.stdout)
        match self.format or "json":
            case "table":
                self._table(value, columns, priority)
            case "jsonl":
                self.text(formats.to_jsonl(value, ascii))
            case "yaml":
                self.text(formats.to_yaml(value))
            case "tsv":
                self.text(formats.to_tsv(value, columns))
            case "quiet":
                self.text(formats.to_names(value, name))
            case _:
                self.text(formats.to_json(value, ascii=ascii))

    def text(self, text: str) -> None:
        """A piece of the result, as it is."""
        if text:
            print(text, file=self.stdout)

    def note(self, text: str, color: str = "") -> None:
        """Something worth knowing that is no result."""
        print(style.paint(text, color, self._paints(self.stderr)) if color else text, file=self.stderr, flush=True)

    def hint(self, text: str) -> None:
        """The next useful command: on a terminal only."""
        if style.is_terminal(self.stderr) and self.format != "quiet":
            self.note(text, "dim")

    def warn(self, text: str) -> None:
        self.note(f"warning: {text}", "yellow")

    def confirm(self, question: str, yes: bool) -> bool:
        """Ask on a terminal; without one, only `-y` is an answer."""
        if yes:
            return True
        if not style.is_terminal(sys.stdin):
            raise UsageError(f"{question} There is no terminal to ask on.", hint="add -y to say yes")
        self.stderr.write(f"{question} [y/N] ")
        self.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextmanager
    def stdout_kept(self) -> Iterator[None]:
        """Keep stdout for the result: what the user's code and its child processes print goes to stderr."""
        self.stdout.flush()
        with redirect_stdout(self.stderr), _descriptor_moved(self.stdout, self.stderr):
            yield

    def _part(self, value: Any) -> None:
        """What `--query` asks for: as JSON, or bare for scripts."""
        found = query.search(value, self.query)
        if found is None and (note := query.missing(value, self.query)):
            self.note(note)
        rows = found if isinstance(found, list) else [found]
        ascii = not style.speaks_unicode(self.stdout)
        if self.format == "table" and all(isinstance(row, dict) for row in rows):
            self._table(found, (), ())
        elif self.format == "yaml":
            self.text(formats.to_yaml(found))
        elif self.format in ("table", "tsv", "quiet"):
            self.text(query.to_lines(found))
        elif self.format == "jsonl":
            self.text("\n".join(formats.to_json(row, indent=None, ascii=ascii) for row in rows))
        else:
            self.text(formats.to_json(found, ascii=ascii))

    def _table(self, value: Any, columns: Sequence[str], priority: Sequence[str]) -> None:
        if isinstance(value, dict):
            self.text(table.record(value))
            return
        rows = [row if isinstance(row, dict) else {"value": row} for row in value]
        if not style.is_terminal(self.stdout):
            self.text(table.plain(rows, columns) if rows else "")
            return
        if not rows:
            self.note("nothing to show", "dim")
            return
        dropped = table.boxed(
            rows, self.stdout, width=shutil.get_terminal_size().columns, columns=columns, priority=priority,
            color=self._paints(self.stdout), unicode=style.speaks_unicode(self.stdout),
        )  # fmt: skip
        if dropped:
            self.note(f"not shown, the terminal is too narrow: {', '.join(dropped)} (-o json shows all)", "dim")

    def _paints(self, stream: TextIO) -> bool:
        return style.wants_color(stream, self.no_color)


def _open_or_nowhere(stream: TextIO | None) -> TextIO:
    """Python has no stream where the caller closed the descriptor (`>&-`)."""
    return stream if stream is not None else open(os.devnull, "w", encoding="utf-8")


@contextmanager
def _descriptor_moved(source: TextIO, target: TextIO) -> Iterator[None]:
    try:
        number, other = source.fileno(), target.fileno()
    except (OSError, AttributeError, ValueError):  # no real files: a test, a notebook
        yield
        return
    saved = os.dup(number)
    try:
        os.dup2(other, number)
        yield
    finally:
        source.flush()
        os.dup2(saved, number)
        os.close(saved)
