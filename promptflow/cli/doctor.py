"""`pf doctor`: what is wrong with this installation and workspace, and what to do about it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from promptflow.cli import exits, style
from promptflow.cli.checks import Check, all_checks
from promptflow.cli.command import Command
from promptflow.cli.output import Output

_MARKS = {"ok": "green", "note": "dim", "warning": "yellow", "error": "red"}


def doctor(args: Namespace, out: Output) -> int:
    checks = all_checks()
    if out.format == "table":
        for check in checks:
            out.text(_told(check, style.wants_color(out.stdout, out.no_color)))
    else:
        out.result([_record(check) for check in checks])
    errors = sum(check.state == "error" for check in checks)
    warnings = sum(check.state == "warning" for check in checks)
    out.note(f"{errors} to mend, {warnings} warnings" if errors or warnings else "all is well")
    return exits.ERROR if errors else exits.OK


def _record(check: Check) -> dict[str, Any]:
    return {"name": check.name, "state": check.state, "message": check.message, "fix": check.fix}


def _told(check: Check, color: bool) -> str:
    line = f"{style.paint(f'{check.state:7}', _MARKS[check.state], color)}  {check.name}: {check.message}"
    return f"{line}\n         fix: {check.fix}" if check.fix else line


DOCTOR = Command(
    doctor,
    "Look at Python, the installed packages, the workspace folder, its key, its database and its processes, and say\n"
    "what must be mended and how. Exit code 1 when something must.",
    None, ("pf doctor", "pf doctor -o json"), "table",
)  # fmt: skip
