"""`pf index`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from promptflow.cli import exits
from promptflow.cli.args import add_yes
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.index import words
from promptflow.index.chunks import SIZE
from promptflow.index.create import create_index
from promptflow.index.index import About
from promptflow.index.lookup import look_up, open_index
from promptflow.index.store import Indexes
from promptflow.llm import background
from promptflow.workspace import Workspace

_PRIORITY = ("name", "chunks", "model", "dimensions", "files", "created")
_SHOWN = 70  # characters of a text in a table
_TOLD = 1000  # pieces between two lines of progress


def create(args: Namespace, out: Output) -> None:
    said = 0

    def told(done: int, all: int) -> None:
        nonlocal said
        if done - said >= _TOLD:
            said = done
            out.note(f"{done:,} of {all:,} pieces")

    about, reading = create_index(
        args.name or args.data.stem, args.data, Workspace.open(), model=args.model or "",
        connection=args.connection or "", column=args.column, size=args.chunk_size, told=told,
    )  # fmt: skip
    for name, why in reading.skipped.items():
        out.warn(f"left out {name}: {why}")
    out.result(_shown(about))
    if about.model == words.NAME:
        out.hint(f"{words.NAME} compares words, not meanings; --model takes an embedding model: pf catalog search")
    out.hint(f'pf index query -n {about.name} "a question"')


def list_indexes(args: Namespace, out: Output) -> None:
    out.result([_shown(about) for about in Indexes(Workspace.open()).list()], priority=_PRIORITY)


def show(args: Namespace, out: Output) -> None:
    out.result(_shown(Indexes(Workspace.open()).open(args.name).about))


def query(args: Namespace, out: Output) -> None:
    workspace = Workspace.open()
    (found,) = background.run(look_up(open_index(args.name, workspace), [args.text], args.top, workspace))
    rows: list[dict[str, Any]] = [{key: entry[key] for key in ("score", "text", "metadata")} for entry in found]
    if out.format == "table":
        rows = [
            {"score": f"{row['score']:.3f}", "source": row["metadata"].get("source", ""), "text": _short(row["text"])}
            for row in rows
        ]
    out.result(rows)


def delete(args: Namespace, out: Output) -> int:
    indexes = Indexes(Workspace.open())
    indexes.place(args.name)
    if not out.confirm(f"Delete index {args.name}?", args.yes):
        out.note("not deleted")
        return exits.ERROR
    indexes.delete(args.name)
    out.note(f"deleted index {args.name}")
    return exits.OK


def _shown(about: About) -> dict[str, Any]:
    return {key: value for key, value in asdict(about).items() if key != "format"}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _create_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="PATH", help="A file or folder: Markdown, text, HTML, JSONL, CSV."
    )
    parser.add_argument("-n", "--name", help="Name of the index (by default that of the data).")
    parser.add_argument(
        "--model", help=f"Embedding model: registered, pulled, a folder, or the connection's. By default {words.NAME}."
    )
    parser.add_argument("--connection", metavar="NAME", help="Where the model is (local: on this machine).")
    parser.add_argument("--column", default="text", metavar="NAME", help="Where rows have their text (text).")
    parser.add_argument(
        "--chunk-size", type=int, default=SIZE, metavar="N", help=f"Longest piece, in characters ({SIZE})."
    )


def _query_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", help="What to look for.")
    _add_name(parser)
    parser.add_argument("--top", type=int, default=3, metavar="N", help="How many pieces (3).")


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("-n", "--name", required=True, metavar="NAME", help="Name of the index, or its folder.")


def _delete_arguments(parser: ArgumentParser) -> None:
    _add_name(parser)
    add_yes(parser)


CREATE = Command(
    create, "Make a vector index of files, in place of one that has its name.", _create_arguments,
    ("pf index create --data docs -n docs", "pf index create --data faq.jsonl --column answer --model my-embedder"),
    "json",
)  # fmt: skip
LIST = Command(list_indexes, "List the vector indexes of the workspace.", None, ("pf index list -o table",), "json")
SHOW = Command(
    show, "Show what an index was made of, and with which model.", _add_name, ("pf index show -n docs",), "json"
)
QUERY = Command(
    query, "Find the pieces of an index that are nearest to a text.", _query_arguments,
    ('pf index query -n docs "How do runs resume?"',), "json",
)  # fmt: skip
DELETE = Command(delete, "Delete an index.", _delete_arguments, ("pf index delete -n docs -y",))
