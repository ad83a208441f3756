"""Which file of a folder is its flow, and of what kind."""

from __future__ import annotations

from pathlib import Path

from promptflow.contracts.flow import DAG_FILES, FLEX_FILES


def flow_folder(source: Path) -> Path:
    """The folder of a flow that is given as a folder or as a file."""
    return source if source.is_dir() else source.parent


def flow_kind(source: Path) -> str:
    """``dag``, ``flex`` or ``prompty``: by its name, or by the key ``entry`` that only flex flows have."""
    if source.suffix == ".prompty":
        return "prompty"
    if source.is_dir():
        source = next((source / n for n in (*DAG_FILES, *FLEX_FILES) if (source / n).is_file()), source)
    if source.name in FLEX_FILES:
        return "flex"
    if source.suffix not in {".yaml", ".yml"} or not source.is_file():
        return "dag"
    lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    return "flex" if any(line.startswith("entry:") for line in lines) else "dag"
