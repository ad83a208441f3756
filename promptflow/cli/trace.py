"""`pf trace`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promptflow.cli import exits
from promptflow.cli.args import add_paging, add_yes
from promptflow.cli.command import Command
from promptflow.cli.formats import to_json
from promptflow.cli.output import Output
from promptflow.client.client import PFClient
from promptflow.exceptions import UserErrorException
from promptflow.tracing.records import SpanRecord, TraceSummary, as_row

_PRIORITY = ("trace_id", "name", "status", "started", "seconds", "tokens")


def list_traces(args: Namespace, out: Output) -> None:
    found = PFClient().traces.store.list(**_filters(args), limit=None if args.all_results else args.max_results)
    out.result([_summary(trace) for trace in found], priority=_PRIORITY, name="trace_id")
    if len(found) == args.max_results and not args.all_results:
        out.hint(f"the newest {len(found)} traces; --all-results shows all")


def show(args: Namespace, out: Output) -> None:
    spans = PFClient().traces.store.show(args.trace)
    if out.format == "table":
        out.text("\n".join(tree(spans)))
    else:
        out.result([_full(span) for span in spans], name="span_id")


def export(args: Namespace, out: Output) -> None:
    store = PFClient().traces.store
    ids = args.trace or [t.trace_id for t in store.list(**_filters(args), limit=None)]
    lines: Iterable[Any] = store.export(ids) if args.format == "otlp" else _spans(store, ids)
    if args.output is None:
        for line in lines:
            out.text(json.dumps(line, ensure_ascii=False))
        return
    path = Path(args.output)
    if path.exists() and not out.confirm(f"{path} exists. Overwrite?", args.yes):
        raise UserErrorException(f"{path} exists", hint="add -y to overwrite it")
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    out.note(f"{len(ids)} traces written to {path}")


def delete(args: Namespace, out: Output) -> int:
    traces = PFClient().traces
    chosen = {"run": args.run, "collection": args.collection, "started_before": args.started_before}
    count = traces.delete(**chosen, dry_run=True)
    if not out.confirm(f"Delete {count} spans for good?", args.yes):
        out.note("not deleted")
        return exits.ERROR
    out.note(f"deleted {traces.delete(**chosen)} spans")
    return exits.OK


def tree(spans: list[SpanRecord]) -> list[str]:
    """The spans of a trace, each under its parent, with how long it took, its tokens and its error."""
    known = {span.span_id for span in spans}
    children: dict[str, list[SpanRecord]] = {}
    for span in spans:
        children.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    lines: list[str] = []
    todo = [(span, 0) for span in reversed(children.get("", []))]
    while todo:
        span, depth = todo.pop()
        lines.append("  " * depth + _line(span))
        todo += [(child, depth + 1) for child in reversed(children.get(span.span_id, []))]
    return lines


def _line(span: SpanRecord) -> str:
    parts = [f"{span.name} ({span.kind})", f"{span.duration * 1000:.1f} ms"]
    if tokens := span.tokens.get("total"):
        parts.append(f"{tokens} tokens")
    if span.status == "Error":
        parts.append(f"failed: {span.error or 'no message'}".splitlines()[0])
    return ", ".join(parts)


def _summary(trace: TraceSummary) -> dict[str, Any]:
    root = trace.root
    return {
        "trace_id": trace.trace_id,
        "name": root.name,
        "kind": root.kind,
        "status": root.status,
        "started": datetime.fromtimestamp(trace.start_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
        "seconds": round(trace.duration, 6),
        "spans": trace.spans,
        "tokens": root.tokens.get("total"),
        "run": root.run,
        "line_number": root.line_number,
        "collection": root.collection,
        "session": root.session,
    }


def _full(span: SpanRecord) -> dict[str, Any]:
    return {
        **as_row(span),
        "seconds": span.duration,
        "inputs": span.inputs,
        "output": span.output,
        "tokens": span.tokens,
    }


def _spans(store: Any, ids: list[str]) -> Iterable[Any]:
    return (json.loads(to_json(as_row(span), indent=None)) for one in ids for span in store.show(one))


def _filters(args: Namespace) -> dict[str, Any]:
    return {
        "run": args.run,
        "collection": args.collection,
        "session": args.session,
        "started_after": args.started_after,
        "started_before": args.started_before,
    }


def _add_filters(parser: ArgumentParser) -> None:
    parser.add_argument("--run", metavar="NAME", help="Only traces of this run.")
    parser.add_argument("--collection", help="Only traces of this collection.")
    parser.add_argument("--session", help="Only traces of this session.")
    parser.add_argument(
        "--started-after", metavar="TIME", help="Only traces that started at this time (ISO 8601) or later."
    )
    parser.add_argument(
        "--started-before", metavar="TIME", help="Only traces that started before this time (ISO 8601)."
    )


def _list_arguments(parser: ArgumentParser) -> None:
    _add_filters(parser)
    add_paging(parser)


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "trace", metavar="TRACE", help="Id of a trace, the beginning of one, a line run's id, or @latest."
    )


def _export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("trace", metavar="TRACE", nargs="*", help="Ids of traces; without them, the filters choose.")
    _add_filters(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="Where to write (stdout).")
    parser.add_argument(
        "-f", "--format", choices=("jsonl", "otlp"), default="jsonl",
        help="jsonl: a span per line. otlp: an OTLP request per line and trace. (jsonl)",
    )  # fmt: skip
    add_yes(parser)


def _delete_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--run", metavar="NAME", help="The traces of this run.")
    parser.add_argument("--collection", help="The traces of this collection.")
    parser.add_argument("--started-before", metavar="TIME", help="Only those that started before this time (ISO 8601).")
    add_yes(parser)


LIST = Command(
    list_traces, "List traces, newest first.", _list_arguments, ("pf trace list", "pf trace list --run my_run -o json"),
    "table",
)  # fmt: skip
SHOW = Command(
    show, "Show the spans of one trace as a tree; -o json shows inputs, outputs and attributes as well.",
    _show_arguments, ("pf trace show @latest", "pf trace show 3f2a -o json"), "table",
)  # fmt: skip
EXPORT = Command(
    export, "Write traces to a file: a span per line, or an OTLP request per line for other tools.", _export_arguments,
    ("pf trace export --run my_run -o traces.jsonl", "pf trace export @latest --format otlp"),
)  # fmt: skip
DELETE = Command(
    delete, "Delete the traces of a run or of a collection. Asks on a terminal, needs -y without one.",
    _delete_arguments,
    ("pf trace delete --run my_run -y", "pf trace delete --collection default --started-before 2026-01-01 -y"),
)  # fmt: skip
