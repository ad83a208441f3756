"""`pf catalog list`: models on this machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from catalog.formats import formats
from catalog.hubinfo import RepoFile
from catalog.local import LocalModels
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.workspace.sizes import size_text

_COLUMNS = ("id", "revision", "refs", "size", "formats", "updated", "folder")
_PRIORITY = ("id", "size", "revision", "formats", "updated")


def list_pulled(args: Namespace, out: Output) -> None:
    models = LocalModels()
    flat = out.format in ("table", "tsv")
    rows = []
    for model in models.list():
        if not all(word.lower() in model.id.lower() for word in args.text):
            continue
        kinds = formats([RepoFile(file.name) for file in model.files])
        rows.append(
            {
                "id": model.id,
                "revision": model.sha[:12] if flat else model.sha,
                "refs": ", ".join(model.refs) if flat else model.refs,
                "size": size_text(model.size) if flat else model.size,
                "formats": ", ".join(kinds) if flat else kinds,
                "updated": datetime.fromtimestamp(model.updated, UTC).isoformat(timespec="seconds"),
                "folder": str(model.folder),
            }
        )
    out.result(rows, columns=_COLUMNS if flat else (), priority=_PRIORITY, name="id")
    if not rows:
        out.hint("pf catalog search WORD, then pf catalog pull ID")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", metavar="WORD", help="Only those with these words in their names.")


LIST = Command(list_pulled, "List the models in the cache of this machine.", _arguments, ("pf catalog list",), "table")
