"""A digest of a tool's source: its file, and the modules of the flow's folder that it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

_IMPORTING = ("import_module", "__import__")


def source_digest(file: Path, folder: Path) -> str:
    """The digest of ``file`` and of the modules in ``folder`` that it imports, directly or through others.

    What it reads or imports from elsewhere, or by a name that is made while it runs, is not in it.
    """
    sources: dict[Path, bytes] = {}
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path not in sources:
            sources[path] = path.read_bytes()
            waiting.extend(imported_files(sources[path], path, folder))
    digest = hashlib.sha256()
    for path in sorted(sources):
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        digest.update(f"{name}\0{len(sources[path])}\0".encode() + sources[path])
    return digest.hexdigest()


def imported_files(source: bytes, file: Path, folder: Path) -> Iterator[Path]:
    """The files in ``folder`` that this source imports, packages' ``__init__.py`` among them."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        for base, name in _imports(node, file, folder):
            yield from _files(base, name)


def _imports(node: ast.AST, file: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """``(where to look, dotted name)`` of what a statement imports."""
    if isinstance(node, ast.Import):
        yield from ((folder, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else folder
        module = f"{node.module}." if node.module else ""
        yield from ((base, f"{module}{alias.name}") for alias in node.names)  # a module, or a name in one
        if node.level:
            yield base, ""
    elif isinstance(node, ast.Call) and node.args:
        called = getattr(node.func, "attr", getattr(node.func, "id", None))
        name = node.args[0]
        if called in _IMPORTING and isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield folder, name.value


def _files(base: Path, name: str) -> Iterator[Path]:
    """The files that are executed when ``name`` is imported from ``base``, as far as they are there."""
    if not name:
        yield from _existing(base / "__init__.py")
        return
    for part in name.split("."):
        yield from _existing(base / f"{part}.py")
        base = base / part
        yield from _existing(base / "__init__.py")


def _existing(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
