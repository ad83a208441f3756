"""How an error is told: three lines for a person, one JSON object for a program, an exit code for a script."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, Any

from promptflow.cli import exits
from promptflow.cli.overwritten import overwriting, told
from promptflow.exceptions import (
    OverrideError,
    PromptflowException,
    ReplayMiss,
    TapeError,
    UserErrorException,
    error_to_dict,
)

if TYPE_CHECKING:
    from promptflow.contracts.flow import Problem

_POSITION = re.compile(r":\d+:\d+( .*)?$")
_BUG = "this looks like a fault in promptflow itself; --debug shows where"


class UsageError(UserErrorException):
    """The command line itself is wrong: exit code 2."""


def exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return exits.INTERRUPTED
    if isinstance(error, ReplayMiss | TapeError):
        return exits.INTEGRITY
    return exits.USAGE if isinstance(error, UsageError | OverrideError) else exits.ERROR


def three_lines(error: BaseException) -> str:
    """`error: what`, `  at where`, `  hint: what to do`; once per problem for a file with several."""
    problems = getattr(error, "problems", ())
    if problems:
        return "\n".join(report_lines(p.message, _place(error, p), p.hint) for p in problems)
    hint = getattr(error, "hint", "") or _hint(error)
    return report_lines(_message(error), getattr(error, "location", ""), hint)


def as_json(error: BaseException, debug: bool = False) -> dict[str, Any]:
    """The error record of run files, with `location`, `hint` and, for a flow file, every problem."""
    record: dict[str, Any] = {"error": error_to_dict(error, include_debug_info=debug)}
    record["location"] = getattr(error, "location", "")
    record["hint"] = getattr(error, "hint", "") or _hint(error)
    problems = getattr(error, "problems", ())
    if problems:
        record["problems"] = [{"message": p.message, "location": _place(error, p), "hint": p.hint} for p in problems]
    return record


def structured(error: BaseException, words: list[str]) -> dict[str, Any]:
    """What PROMPTFLOW_STRUCTURE_EXCEPTION_OUTPUT=true asks for: the error record and the command."""
    return {**error_to_dict(error, include_debug_info=True), "command": " ".join(["pf", *words])}


def trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()


def report_lines(message: str, location: str = "", hint: str = "") -> str:
    """The three lines themselves."""
    first, *more = message.splitlines() or [""]
    lines = [f"error: {first}", *(f"  {line}" for line in more)]
    if location:
        lines.append(f"  at {location}")
    if hint:
        lines.append(f"  hint: {hint}")
    return "\n".join(lines)


def _message(error: BaseException) -> str:
    if isinstance(error, PromptflowException):
        # What PFClient raises for a failed test names a type first; "Exception" would say nothing here.
        return error.message.removeprefix("Exception: ")
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _hint(error: BaseException) -> str:
    if isinstance(error, ImportError) and (found := overwriting()):
        return told(found)[1]
    if isinstance(error, FileNotFoundError) and not isinstance(error, PromptflowException) and error.filename is None:
        return "the working directory may be gone: cd to one that exists"
    known = isinstance(error, (UserErrorException, OSError, KeyboardInterrupt))
    blames_user = isinstance(error, PromptflowException) and error.error_codes[:1] == ["UserError"]
    return "" if known or blames_user else _BUG


def _place(error: BaseException, problem: Problem) -> str:
    """`file:line:column node`; problems know their line, their error knows the file."""
    file = _POSITION.sub("", getattr(error, "location", ""))
    if problem.line:
        return f"{file}:{problem.line}:{problem.column} {problem.where}".rstrip()
    return problem.where if problem.where.startswith("--") else file
