"""Imports of Python files, read with `ast` and never run: which of them this installation cannot answer."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import promptflow
from promptflow.cli.migrate.findings import Finding, Verdict
from promptflow.cli.migrate.packages import CHANGED, CLOUD_ONLY, distribution

_OURS = Path(promptflow.__file__ or "").parent
_GUARDS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True, slots=True)
class Import:
    """`import module` or `from module import names`. ``optional``: guarded by `try` or TYPE_CHECKING."""

    module: str
    names: tuple[str, ...]
    line: int
    optional: bool


def parse(source: bytes | str, file: str) -> ast.Module | Finding:
    try:
        return ast.parse(source, filename=file)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", 0) or 0
        return Finding(file, line, Verdict.EDIT, f"Python cannot read this file: {error}", "mend the syntax")


def notebook_source(path: Path) -> str:
    """The code cells of a notebook as one text; lines of magics and shell commands are blanked."""
    cells = json.loads(path.read_text(encoding="utf-8")).get("cells", [])
    lines = [line for c in cells if c.get("cell_type") == "code" for line in "".join(c["source"]).splitlines()]
    return "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in lines)


def read_imports(body: Sequence[ast.stmt], optional: bool = False) -> Iterator[Import]:
    """Every absolute import under ``body``, those inside functions included."""
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno, optional)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and node.module:
                yield Import(node.module, tuple(a.name for a in node.names), node.lineno, optional)
        elif isinstance(node, ast.Try):
            yield from read_imports(node.body, optional or _guards_imports(node))
            for handler in node.handlers:
                yield from read_imports(handler.body, True)
            yield from read_imports([*node.orelse, *node.finalbody], optional)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from read_imports(node.body, True)
            yield from read_imports(node.orelse, optional)
        else:
            for field in ("body", "orelse"):
                yield from read_imports(getattr(node, field, None) or (), optional)


def judge(found: Import, file: str, local: set[str], project: frozenset[str] = frozenset()) -> Finding | None:
    """What to say about one import.

    ``local``: modules that lie beside the file. ``project``: modules that lie elsewhere in the project; a program that
    finds them (by sys.path) is not told to install a stranger's package of that name.
    """
    for module, (message, fix) in CLOUD_ONLY.items():
        if _names_module(found, module):
            verdict = Verdict.WARNING if found.optional else Verdict.EDIT
            return Finding(file, found.line, verdict, message, fix)
    top = found.module.partition(".")[0]
    if top in local or top in sys.stdlib_module_names or found.optional:
        return None
    if top == "promptflow":
        missing = _missing_of_ours(found)
        fix = "import it from promptflow.core, promptflow.client, promptflow.entities or promptflow.connections"
        if missing:
            return Finding(file, found.line, Verdict.EDIT, f"{missing} does not exist here", fix)
        changed = next((words for module, words in CHANGED.items() if _names_module(found, module)), None)
        return Finding(file, found.line, Verdict.WARNING, *changed) if changed else None
    if top not in project and not _installed(found.module):
        package = distribution(found.module)
        fix = f"pip install {package}"
        return Finding(file, found.line, Verdict.WARNING, f"{found.module} is not installed here", fix, package)
    return None


def _names_module(found: Import, module: str) -> bool:
    wanted = {found.module, *(f"{found.module}.{name}" for name in found.names)}
    return any(name == module or name.startswith(module + ".") for name in wanted)


def _missing_of_ours(found: Import) -> str:
    """The first module or name of `promptflow` that this import asks for in vain."""
    if _our_file(found.module) is None:
        return found.module
    for name in found.names:
        if name != "*" and name not in _names_of(found.module) and _our_file(f"{found.module}.{name}") is None:
            return f"{found.module}.{name}"
    return ""


def _our_file(module: str) -> Path | None:
    base = _OURS.joinpath(*module.split(".")[1:])
    return next((p for p in (base / "__init__.py", base.with_name(base.name + ".py")) if p.is_file()), None)


@cache
def _names_of(module: str) -> frozenset[str]:
    """Names that a module of ours may offer: what it binds, and every string in it (lazy doors list names so)."""
    file = _our_file(module)
    if file is None:
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.names[0].name == "*":
            names |= _names_of(node.module)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            names.add(node.value)
    return frozenset(names)


@cache
def _installed(module: str) -> bool:
    """Whether the package is there. Only `azure.*` is looked at below the top: it is many packages under one name."""
    parts = module.split(".")
    depth = min(len(parts), 3) if parts[0] in ("azure", "google") else 1
    for end in range(1, depth + 1):
        try:
            if importlib.util.find_spec(".".join(parts[:end])) is None:
                return False
        except (ImportError, ValueError, AttributeError):
            return False
    return True


def _guards_imports(node: ast.Try) -> bool:
    caught = {n.id for h in node.handlers if h.type is not None for n in ast.walk(h.type) if isinstance(n, ast.Name)}
    return bool(caught & _GUARDS) or any(h.type is None for h in node.handlers)
