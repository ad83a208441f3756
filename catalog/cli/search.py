"""`pf catalog search`: models on a hub."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from catalog.cli.arguments import add_endpoint
from catalog.formats import WEIGHTS
from catalog.hub import SORTS, Hub
from catalog.hubinfo import ModelInfo
from catalog.machine import Machine
from catalog.search import Query, model_formats, weight_bytes
from catalog.search import search as found
from promptflow.cli.args import positive
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.workspace.sizes import parse_size, size_text

_COLUMNS = ("id", "parameters", "size", "licence", "task", "formats", "gated", "downloads", "updated")
_PRIORITY = ("id", "parameters", "size", "licence", "downloads", "task", "formats")


def search(args: Namespace, out: Output) -> None:
    query = Query(
        text=" ".join(args.text),
        task=args.task,
        author=args.author,
        licence=args.licence,
        format=args.weights,
        least_parameters=args.min_parameters,
        most_parameters=args.max_parameters,
        most_size=args.max_size,
        open_only=args.not_gated,
        sort=args.sort,
    )
    models = found(Hub(args.endpoint), query, args.max_results, Machine.here() if args.fits else None)
    flat = out.format in ("table", "tsv")
    out.result([_row(model, flat) for model in models], columns=_COLUMNS, priority=_PRIORITY, name="id")
    if not models:
        out.note("no model matches")
    elif len(models) == args.max_results:
        out.hint(f"the first {args.max_results}; -r shows more")


def _row(model: ModelInfo, flat: bool) -> dict[str, Any]:
    size = weight_bytes(model)
    formats = model_formats(model)
    return {
        "id": model.id,
        "parameters": count_text(model.parameters) if flat else model.parameters,
        "size": (size_text(size) if size is not None else "") if flat else size,
        "licence": model.licence,
        "task": model.task,
        "formats": ", ".join(formats) if flat else formats,
        "gated": model.gated,
        "downloads": model.downloads,
        "updated": model.updated[:10] if flat else model.updated,
    }


def count_text(count: int | None) -> str:
    """``7.6B``; empty if it is not known."""
    if count is None:
        return ""
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def count(text: str) -> int:
    """``8B`` or ``350M``, as people count parameters."""
    units = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
    number, unit = text.strip().upper(), 1
    if number[-1:] in units:
        number, unit = number[:-1], units[number[-1]]
    try:
        value = float(number) * unit
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"expected a number such as 8B or 350M, found {text}")
    return int(value)


def size(text: str) -> int:
    value = parse_size(text)
    if not value:
        raise ArgumentTypeError(f"expected a size such as 24GB, found {text}")
    return value


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", metavar="WORD", help="Words in the name.")
    parser.add_argument("--task", default="", metavar="TASK", help="Such as text-generation or feature-extraction.")
    parser.add_argument("--author", default="", metavar="NAME", help="Whose models.")
    parser.add_argument(
        "--licence",
        "--license",
        default="",
        metavar="NAME",
        help="Such as apache-2.0; or open: any that allows every use.",
    )
    parser.add_argument("--weights", choices=WEIGHTS, default="", help="The format of its weights.")
    parser.add_argument("--min-parameters", type=count, default=0, metavar="N", help="At least so many, such as 1B.")
    parser.add_argument("--max-parameters", type=count, default=0, metavar="N", help="At most so many, such as 8B.")
    parser.add_argument("--max-size", type=size, default=0, metavar="SIZE", help="Weights of at most so much: 16GB.")
    parser.add_argument("--fits", action="store_true", help="Only models that run on this machine: pf catalog fit.")
    parser.add_argument("--not-gated", action="store_true", help="Only models whose files anybody can read.")
    parser.add_argument("--sort", choices=SORTS, default="downloads", help="What comes first (downloads).")
    parser.add_argument("-r", "--max-results", type=positive, default=20, metavar="N", help="How many at most (20).")
    add_endpoint(parser)


SEARCH = Command(
    search, "Search a hub for models.", _arguments,
    ("pf catalog search qwen3 --licence open --fits", "pf catalog search --task text-generation --max-parameters 8B"),
    "table",
)  # fmt: skip
