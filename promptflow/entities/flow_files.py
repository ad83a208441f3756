"""Which file of a folder is its flow, and of what kind."""

from __future__ import annotations

from pathlib import Path

from promptflow.contracts.flow import DAG_FILES, FLEX_FILES


def flow_folder(source: Path) -> Path:
    """The folder of a flow that is given as a folder or as a file."""
    return source if source.is_dir() else source.parent


def flow_kind(source: Path) -> str:
    """``dag``, ``flex`` or ``prompty``, judged by names alone; a YAML file of another name by its ``entry`` key."""
    if source.suffix == ".prompty":
        return "prompty"
    if source.name in DAG_FILES:
        return "dag"
    if source.name in FLEX_FILES:
        return "flex"
    if source.is_dir():
        return "flex" if any((source / name).is_file() for name in FLEX_FILES) else "dag"
    if source.suffix in {".yaml", ".yml"} and source.is_file():
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
        return "flex" if any(line.startswith("entry:") for line in lines) else "dag"
    return "dag"
