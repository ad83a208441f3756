"""Everything that is wrong with a flow, without running it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow.exceptions import PromptflowException
from promptflow.executor.loader import find_flow_file, load_executor, load_flow_definition
from promptflow.workspace import Workspace


@dataclass(frozen=True)
class Finding:
    """One error or warning; ``location`` is ``file:line:column`` where it is known."""

    message: str
    location: str = ""
    hint: str = ""
    severity: str = "error"


@dataclass(frozen=True)
class ValidationResult:
    """What was found. ``passed`` when there are no errors."""

    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def error_messages(self) -> dict[str, str]:
        """Messages of errors by location."""
        return {finding.location or "*": finding.message for finding in self.findings if finding.severity == "error"}

    def _to_dict(self) -> dict[str, Any]:
        names = {"error": "errors", "warning": "warnings"}
        result: dict[str, Any] = {"result": "Succeeded" if self.passed else "Failed"}
        for severity, name in names.items():
            found = [f for f in self.findings if f.severity == severity]
            if found:
                result[name] = [{"path": "*", "message": f.message, "location": f.location} for f in found]
        return result

    def __bool__(self) -> bool:
        return self.passed


def validate_flow(source: Path, workspace: Workspace, *, raise_error: bool = False) -> ValidationResult:
    """Read the flow's file; when that is fine, load its tools and connections too."""
    findings: list[Finding] = []
    try:
        file = find_flow_file(source)
        if file.suffix != ".prompty":
            definition = load_flow_definition(file)
            findings += [
                Finding(w.message, f"{file}:{w.line}:{w.column}", w.hint, "warning")
                for w in getattr(definition, "warnings", ())
            ]
        load_executor(file, workspace=workspace)
    except PromptflowException as error:
        if raise_error:
            raise
        findings += _findings(error)
    return ValidationResult(tuple(findings))


def _findings(error: PromptflowException) -> list[Finding]:
    problems = getattr(error, "problems", ())
    file = error.location.partition(":")[0]
    if problems:
        return [Finding(p.message, f"{file}:{p.line}:{p.column}", p.hint) for p in problems]
    return [Finding(str(error), error.location, error.hint)]
