"""Write a set of files into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from promptflow.cli.output import Output


def write_files(folder: Path, files: Mapping[str, str], out: Output) -> None:
    """Write every file, telling which is new and which is overwritten."""
    for name, text in files.items():
        path = folder / name
        out.note(f"{'overwriting' if path.exists() else 'creating'} {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
