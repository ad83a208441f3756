"""`pf migrate check`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from promptflow.cli import exits
from promptflow.cli.command import Command
from promptflow.cli.migrate.check import check, summarize
from promptflow.cli.migrate.findings import Entry, Finding, Verdict
from promptflow.cli.output import Output


def migrate_check(args: Namespace, out: Output) -> int:
    entries = check(Path(args.path))
    counts = summarize(entries)
    shown = entries if args.all or out.format != "table" else [e for e in entries if e.verdict is not Verdict.UNCHANGED]
    if out.format in ("json", "yaml"):
        packages = sorted({f.package for e in entries for f in e.findings if f.package})
        connections = sorted({name for e in entries for name in e.connections})
        out.result(
            {
                "summary": counts,
                "missing_packages": packages,
                "connections": connections,
                "entries": [_record(entry) for entry in shown],
            }
        )
    elif out.format == "table":
        for verdict in Verdict:
            for entry in shown:
                if entry.verdict is verdict:
                    out.text(told(entry))
    else:
        out.result([row for entry in shown for row in _rows(entry)], name="file")
    out.note(", ".join(f"{counts[v.text]} {v.text if counts[v.text] == 1 else v.plural}" for v in Verdict))
    return exits.ROWS_FAILED if counts[Verdict.EDIT.text] else exits.OK


def told(entry: Entry) -> str:
    """The verdict, the file, and under it each finding with its place and its fix."""
    lines = [f"{entry.verdict.text}: {entry.file} ({entry.kind})"]
    for finding in sorted(entry.findings):
        place = _where(entry, finding)
        lines.append(f"  {place} {finding.message}" if place else f"  {finding.message}")
        lines += [f"    fix: {finding.fix}"] if finding.fix else []
    return "\n".join(lines)


def _record(entry: Entry) -> dict[str, Any]:
    return {
        "file": entry.file,
        "kind": entry.kind,
        "verdict": entry.verdict.text,
        "connections": list(entry.connections),
        "findings": [
            {"verdict": f.verdict.text, "file": f.file, "line": f.line, "message": f.message, "fix": f.fix}
            for f in sorted(entry.findings)
        ],
    }


def _rows(entry: Entry) -> list[dict[str, Any]]:
    found: list[Finding | None] = list(sorted(entry.findings)) or [None]
    return [
        {
            "file": entry.file,
            "kind": entry.kind,
            "verdict": (f.verdict if f else entry.verdict).text,
            "where": _where(entry, f) if f else "",
            "finding": f.message if f else "",
            "fix": f.fix if f else "",
        }
        for f in found
    ]


def _where(entry: Entry, finding: Finding) -> str:
    """`:12` in the file itself, `tool.py:12` in another."""
    file = "" if finding.file == entry.file else os.path.relpath(finding.file, Path(entry.file).parent)
    return f"{file}:{finding.line}" if finding.line else file


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="A project, a flow folder or one file.")
    parser.add_argument("--all", action="store_true", help="In a table, list what runs unchanged as well.")


CHECK = Command(
    migrate_check,
    "Say of every flow, prompty, run, connection and tool file under PATH whether it runs unchanged, runs with a\n"
    "warning, or needs an edit: which file, which line, what to do. Nothing is run. Exit code 3 when something needs\n"
    "an edit.",
    _arguments, ("pf migrate check .", "pf migrate check flows -o json"), "table",
)  # fmt: skip
