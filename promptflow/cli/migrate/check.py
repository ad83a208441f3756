"""The check of a folder: find the files, judge each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from promptflow.cli.migrate.assets import check_connection, check_requirements, check_run, check_script
from promptflow.cli.migrate.findings import Entry, Finding, Verdict
from promptflow.cli.migrate.flows import check_dag, check_flex, check_prompty, problems_of
from promptflow.cli.migrate.imports import notebook_source, parse, read_imports
from promptflow.cli.migrate.python_files import PythonFiles
from promptflow.cli.migrate.walk import files, kind_of_file, kind_of_yaml
from promptflow.exceptions import PathNotFoundError, YamlParseError
from promptflow.executor.loader import is_flex_file
from promptflow.workspace.yamlfile import load_yaml

_OURS = ("promptflow", "pfazure", "promptflow_vectordb")


def check(path: Path) -> list[Entry]:
    """A verdict on every flow, prompty, run and connection file under ``path``, and on Python files that use us.

    Nothing is run and nothing imported but promptflow's own modules. Paths are as ``path`` gives them.
    """
    if not path.exists():
        raise PathNotFoundError(f"there is no file or folder {path}")
    found = list(files(path))
    project = frozenset(file.stem for file in found if file.suffix == ".py")
    sources = PythonFiles(path if path.is_dir() else path.parent, project)
    return [entry for file in found if (entry := _judge(file, sources)) is not None]


def _judge(file: Path, sources: PythonFiles) -> Entry | None:
    match kind_of_file(file):
        case None:
            return _yaml(file, sources)
        case "dag flow" if not _has_entry(file):
            return check_dag(file, sources)
        case "dag flow" | "flex flow":
            return check_flex(file, sources)
        case "prompty":
            return check_prompty(file)
        case "python":
            return _python(file, sources)
        case "notebook":
            return _notebook(file, sources)
        case "requirements":
            return _if_found(check_requirements(file))
        case "script":
            return _if_found(check_script(file))
    return None


def _has_entry(file: Path) -> bool:
    """A flex flow may be called flow.dag.yaml: what counts is its `entry`."""
    try:
        return is_flex_file(file)
    except YamlParseError:
        return False  # told when it is parsed as a DAG


def _yaml(file: Path, sources: PythonFiles) -> Entry | None:
    try:
        data, marks = load_yaml(file)
    except YamlParseError as error:
        # Not known to be ours: a file that looks so is worth a word, another project's is not.
        text = file.read_bytes()
        ours = b"promptflow" in text or b"nodes:" in text
        return Entry(str(file), "yaml", tuple(problems_of(error, file))) if ours else None
    match kind_of_yaml(data):
        case "dag flow":
            return check_dag(file, sources)
        case "flex flow":
            return check_flex(file, sources)
        case "run":
            return check_run(file, data, marks)
        case "connection":
            return check_connection(file, data, marks)
        case "experiment":
            message = "experiments were never more than a preview, and are not part of this release"
            fix = "call PFClient().run(...) once per step from a Python script"
            return Entry(str(file), "experiment", (Finding(str(file), 1, Verdict.EDIT, message, fix),))
    return None


def _python(file: Path, sources: PythonFiles) -> Entry | None:
    """Python files count when they import promptflow, or ask for what only a cloud has."""
    source = sources.source(file)
    found = tuple(sources.findings(file))
    uses_us = any(one.module.partition(".")[0] in _OURS for one in source.imports)
    return Entry(str(file), "python", found) if uses_us or any(f.verdict is Verdict.EDIT for f in found) else None


def _notebook(file: Path, sources: PythonFiles) -> Entry | None:
    try:
        parsed = parse(notebook_source(file), str(file))
    except (ValueError, KeyError, OSError, AttributeError):
        return None
    if isinstance(parsed, Finding):
        return None  # cells may hold what is no Python: %%bash, snippets
    imports = list(read_imports(parsed.body))
    if not any(one.module.partition(".")[0] in _OURS for one in imports):
        return None
    # Lines of cells are not lines of the file: 0 says so.
    found = (replace(finding, line=0) for finding in sources.judge(imports, file))
    return Entry(str(file), "notebook", tuple(dict.fromkeys(found)))


def _if_found(entry: Entry) -> Entry | None:
    return entry if entry.findings else None


def summarize(entries: list[Entry]) -> dict[str, int]:
    """How many entries have each verdict."""
    return {v.text: sum(entry.verdict is v for entry in entries) for v in Verdict}


def flat(entries: list[Entry]) -> Iterator[tuple[Entry, Finding]]:
    """Every finding with the entry it belongs to."""
    return ((entry, finding) for entry in entries for finding in entry.findings)
