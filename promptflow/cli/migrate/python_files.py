"""What a Python file, and the files of the project that it imports, ask for that is not here."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from promptflow.cli.migrate.findings import Finding
from promptflow.cli.migrate.imports import Import, judge, parse, read_imports


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file: its tree (None where Python cannot read it), imports and findings of its own."""

    tree: ast.Module | None
    imports: tuple[Import, ...]
    broken: tuple[Finding, ...] = ()


@dataclass
class PythonFiles:
    """Reads each file once, however many flows use it."""

    root: Path
    project: frozenset[str] = frozenset()
    _sources: dict[Path, Source] = field(default_factory=dict)
    _modules: dict[Path, set[str]] = field(default_factory=dict)

    def source(self, file: Path) -> Source:
        if file not in self._sources:
            self._sources[file] = self._read(file)
        return self._sources[file]

    def findings(self, file: Path) -> list[Finding]:
        """Those of the file alone."""
        source = self.source(file)
        return [*source.broken, *self.judge(source.imports, file)]

    def judge(self, imports: Iterable[Import], file: Path) -> list[Finding]:
        """What to say about these imports of ``file``; a package that is missing is named once."""
        local = self.local_modules(file)
        found: list[Finding] = []
        missing: set[str] = set()
        for one in imports:
            finding = judge(one, str(file), local, self.project)
            if finding is not None and (not finding.package or finding.package not in missing):
                missing.add(finding.package)
                found.append(finding)
        return found

    def closure(self, file: Path, folders: tuple[Path, ...] = ()) -> list[Finding]:
        """Those of the file and of every file of the project that it imports."""
        found: list[Finding] = []
        seen: set[Path] = set()
        todo = [file]
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            found += self.findings(current)
            for one in self.source(current).imports:
                todo += self._files_of(one, (current.parent, *folders, file.parent))
        return found

    def local_modules(self, file: Path) -> set[str]:
        """Names of modules beside the file or in a folder above it, up to the root."""
        names: set[str] = set()
        for folder in (file.parent, *file.parent.parents):
            names |= self._modules_in(folder)
            if folder == self.root:
                break
        return names

    def _modules_in(self, folder: Path) -> set[str]:
        if folder not in self._modules:
            try:
                entries = list(folder.iterdir())
            except OSError:
                entries = []
            names = {entry.stem for entry in entries if entry.suffix == ".py"}
            # A folder counts when it holds Python files itself: `langchain/README.md` does not hide langchain.
            names |= {e.name for e in entries if e.name.isidentifier() and e.is_dir() and any(e.glob("*.py"))}
            self._modules[folder] = names
        return self._modules[folder]

    def _files_of(self, found: Import, folders: tuple[Path, ...]) -> list[Path]:
        for folder in folders:
            base = folder.joinpath(*found.module.split("."))
            names = [base.with_suffix(".py"), base / "__init__.py", *(base / f"{name}.py" for name in found.names)]
            files = [name for name in names if name.is_file()]
            if files:
                return files
        return []

    def _read(self, file: Path) -> Source:
        try:
            parsed = parse(file.read_bytes(), str(file))
        except OSError as error:
            parsed = parse(f"raise SystemExit({str(error)!r})", str(file))
        if isinstance(parsed, Finding):
            return Source(None, (), (parsed,))
        return Source(parsed, tuple(read_imports(parsed.body)))


def tools_in(tree: ast.Module) -> list[str]:
    """Names of functions and methods under `@tool`, or wrapped by a call of it."""
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(map(_is_tool, node.decorator_list)):
            names.append(node.name)
        elif isinstance(node, ast.ClassDef):
            names += tools_in(ast.Module(body=node.body, type_ignores=[]))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _is_tool(node.value.func):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            names += tools_in(ast.Module(body=node.body, type_ignores=[]))
    return names


def binds(tree: ast.Module, name: str) -> bool:
    """Whether the module defines, assigns or imports ``name``."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name:
            return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return True
        if isinstance(node, ast.alias) and name in (node.asname, node.name, "*") or _is_star(node):
            return True
    return False


def refused_return(tree: ast.Module, name: str) -> tuple[int, str] | None:
    """Line and text of the return annotation of an entry, where it is one that flows refuse: `dict`, a plain class."""
    found = next((n for n in tree.body if getattr(n, "name", "") == name), None)
    if isinstance(found, ast.ClassDef):
        found = next((n for n in found.body if getattr(n, "name", "") == "__call__"), None)
    if not isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)) or found.returns is None:
        return None
    text = ast.unparse(found.returns)
    plain = text.partition("[")[0].rpartition(".")[2]
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    own = classes.get(plain)
    refused = plain in ("dict", "Dict", "tuple", "Tuple", "set", "Set") or (
        own and not own.bases and not own.decorator_list
    )
    return (found.lineno, text) if refused else None


def _is_star(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)


def _is_tool(node: ast.expr) -> bool:
    target = node.func if isinstance(node, ast.Call) else node
    return (target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")) == "tool"
