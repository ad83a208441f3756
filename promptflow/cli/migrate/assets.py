"""Verdicts on run files, connection files, requirements and scripts."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from promptflow.cli.migrate.findings import Entry, Finding, Verdict
from promptflow.cli.migrate.flows import problems_of
from promptflow.cli.migrate.packages import judge_requirement
from promptflow.client.run_yaml import _RUN_KEYS as RUN_KEYS
from promptflow.connections.yamlform import from_mapping
from promptflow.exceptions import PromptflowException
from promptflow.workspace.yamlfile import Marks

_CLOUD_KEYS = ("resources", "identity", "runtime", "workspace", "compute")
_PIP_INSTALL = re.compile(r"pip3?\s+install\s+(.*)")


def check_run(file: Path, data: dict[str, Any], marks: Marks) -> Entry:
    return Entry(str(file), "run", tuple(_run(file, data, marks)))


def _run(file: Path, data: dict[str, Any], marks: Marks) -> Iterator[Finding]:
    def finding(verdict: Verdict, key: str, message: str, fix: str) -> Finding:
        return Finding(str(file), marks.at(key)[0], verdict, message, fix)

    if not data.get("flow"):
        yield Finding(str(file), 1, Verdict.EDIT, "the run names no flow", "add flow: FOLDER")
    for key in ("flow", "data"):
        value = data.get(key)
        if not isinstance(value, str):
            continue
        if value.startswith(("azureml:", "https://", "wasbs://", "abfss://")):
            yield finding(Verdict.EDIT, key, f"{key}: {value} lies in the cloud", "download it and name the local path")
        elif not (file.parent / value).exists() and "${" not in value:
            yield finding(
                Verdict.EDIT, key, f"{key}: {value} does not exist", f"mend {key}: it is relative to this file"
            )
    for key in data:
        if key in _CLOUD_KEYS:
            yield finding(Verdict.WARNING, key, f"{key!r} only meant something in Azure ML: it is ignored", "remove it")
        elif key not in RUN_KEYS:
            yield finding(Verdict.WARNING, key, f"unknown key {key!r} is ignored", "remove it")


def check_connection(file: Path, data: dict[str, Any], marks: Marks) -> Entry:
    return Entry(str(file), "connection", tuple(_connection(file, data, marks)))


def _connection(file: Path, data: dict[str, Any], marks: Marks) -> Iterator[Finding]:
    module = data.get("module")
    if data.get("custom_type") and isinstance(module, str):
        # A strong type is a class of the user's: it is not imported to look at a file.
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            package = str(data.get("package") or module.partition(".")[0])
            message = f"its class {data['custom_type']} is in {module}, which is not installed here"
            line = marks.at("module")[0]
            yield Finding(str(file), line, Verdict.WARNING, message, f"pip install {package}", package)
        return
    try:
        from_mapping({**data, "name": data.get("name") or "unnamed"}, None, marks)
    except PromptflowException as error:
        yield from problems_of(error, file)


def check_requirements(file: Path) -> Entry:
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        judged = judge_requirement(line)
        if judged:
            found.append(Finding(str(file), number, Verdict.EDIT, *judged))
    return Entry(str(file), "requirements", tuple(found))


def check_script(file: Path) -> Entry:
    """Shell scripts: commands that are not here, packages that must not be installed."""
    found: list[Finding] = []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.split("#", 1)[0]
        if re.search(r"(^|[\s;&|(])pfazure\s", words):
            found.append(Finding(str(file), number, Verdict.EDIT, "pfazure talks to an Azure ML workspace", "use pf"))
        if match := re.search(r"(^|[\s;&|(])pf\s+flow\s+(serve|build)\s", words):
            message = f"pf flow {match[2]} is not part of this release"
            found.append(Finding(str(file), number, Verdict.EDIT, message, "call the flow from a program of your own"))
        if installed := _PIP_INSTALL.search(words):
            for word in installed[1].replace('"', " ").replace("'", " ").split():
                judged = None if word.startswith("-") else judge_requirement(word)
                if judged:
                    found.append(Finding(str(file), number, Verdict.EDIT, *judged))
    return Entry(str(file), "script", tuple(found))
