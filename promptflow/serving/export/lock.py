"""The packages that a flow needs, each with the version that is installed here, where the flow works."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from promptflow.workspace.yamlfile import load_yaml

OWN = "promptflow"
# Microsoft's, in whose place this package is: they would write over its files.
REPLACED = frozenset(
    {"promptflow-core", "promptflow-devkit", "promptflow-azure", "promptflow-tracing", "promptflow-evals"}
)
LOOP = "uvloop"  # which servers find by themselves; it comes with the extra `serve`
_OPTION = re.compile(r"\s+--?[a-z].*$")
_FILE = re.compile(r"(?:-r|--requirement)[\s=]*(\S+)$")


@dataclass
class Lock:
    """``pins``: ``name==version`` by name. ``unlocked``: what is not installed here, as it was asked for."""

    pins: dict[str, str] = field(default_factory=dict)
    unlocked: list[str] = field(default_factory=list)

    def text(self, made: str = "by `pf flow build`: the versions that the flow was built with") -> str:
        lines = [f"# made {made}", *sorted(self.pins.values())]
        if self.unlocked:
            lines += ["", "# not installed where this was made", *self.unlocked]
        return "\n".join(lines) + "\n"


def lock_requirements(folder: Path, environment: Mapping[str, Any], extras: Iterable[str] = ()) -> Lock:
    """Of the flow's requirements file, its conda file, and what its Python files import; and of all they need."""
    return lock_lines([*_declared(folder, environment), *imported(folder)], extras)


def lock_lines(lines: Iterable[str], extras: Iterable[str] = ()) -> Lock:
    """Of this package with ``extras``, of ``lines`` as pip reads them, and of all they need."""
    lock = Lock()
    faster = [LOOP] if find_spec(LOOP) else []
    for text in [f"{OWN}[{','.join(sorted(extras))}]" if extras else OWN, *faster, *lines]:
        _add(text, lock)
    return lock


def _declared(folder: Path, environment: Mapping[str, Any]) -> list[str]:
    named = environment.get("python_requirements_txt") or "requirements.txt"
    lines = _lines_in(folder / str(named), set())
    conda = environment.get("conda_file")
    if conda and (folder / str(conda)).is_file():
        file = folder / str(conda)
        lines += _with_files(_of_conda(load_yaml(file)[0]), file.parent, set())
    return lines


def _lines_in(file: Path, seen: set[Path]) -> list[str]:
    """A requirements file's lines, and those of the files that it names. None of one that is not there."""
    if file.resolve() in seen or not file.is_file():
        return []
    seen.add(file.resolve())
    return _with_files(lines_of(file.read_text(encoding="utf-8-sig")), file.parent, seen)


def _with_files(lines: Iterable[str], folder: Path, seen: set[Path]) -> list[str]:
    """``lines`` with what stands in another file in the place of its name: the lock is read where that is not."""
    found: list[str] = []
    for line in lines:
        named = _FILE.match(line)
        if named is None or not (folder / named[1]).is_file():
            found.append(line)
        else:
            found += _lines_in(folder / named[1], seen)
    return found


def lines_of(text: str) -> list[str]:
    """The lines of a requirements file that say something."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        line = line.split(" #")[0].strip()
        if line and not line.startswith("#"):
            found.append(line)
    return found


def _of_conda(data: Any) -> list[str]:
    """A conda file's packages under their names for pip; Python itself is the image's."""
    found: list[str] = []
    for item in (data or {}).get("dependencies") or ():
        if isinstance(item, dict):
            found += [str(line) for line in item.get("pip") or ()]
        elif (name := re.split(r"[=<>!\s]", str(item).partition("::")[2] or str(item))[0]) not in ("python", "pip"):
            found.append(name)
    return found


def imported(folder: Path) -> list[str]:
    """Distributions of the modules that the files of a folder import."""
    modules: set[str] = set()
    for file in folder.rglob("*.py"):
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    own = {path.stem for path in folder.iterdir()} | set(sys.stdlib_module_names) | {OWN}
    return owners_of(modules - own)


def owners_of(modules: Iterable[str]) -> list[str]:
    """The distributions that modules are from, as far as they are installed."""
    wanted = {*modules}
    owners = metadata.packages_distributions() if wanted else {}
    return sorted({name for module in wanted for name in owners.get(module, ())[:1]})


def _add(text: str, lock: Lock) -> None:
    """Pin a requirement and, in turn, what it requires."""
    waiting = [text]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        line = waiting.pop()
        try:
            wanted = Requirement(_OPTION.sub("", line))
        except InvalidRequirement:
            _keep(line, lock)  # an address, a file, an option of pip
            continue
        name = canonicalize_name(wanted.name)
        if name in REPLACED:
            continue
        if (name, frozenset(wanted.extras)) in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add((name, frozenset(wanted.extras)))
        try:
            found = metadata.distribution(wanted.name)
        except metadata.PackageNotFoundError:
            _keep(line, lock)
            continue
        pinned = lock.pins.get(name, "")
        extras = sorted({*wanted.extras, *(Requirement(pinned).extras if pinned else ())})
        # Without what a local build adds (torch's +cpu): no index has it under that name.
        version = found.version.partition("+")[0]
        lock.pins[name] = f"{found.name}{f'[{chr(44).join(extras)}]' if extras else ''}=={version}"
        waiting += _required(found, wanted.extras)


def _required(found: metadata.Distribution, extras: set[str]) -> list[str]:
    names = []
    for text in found.requires or ():
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            needed.marker = None
            names.append(str(needed))
    return names


def _keep(line: str, lock: Lock) -> None:
    if line not in lock.unlocked:
        lock.unlocked.append(line)
