"""Read YAML as Prompt flow does (YAML 1.2 booleans, numbers), with file:line:column in errors; edit and write it."""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow.exceptions import YamlParseError
from promptflow.workspace.atomic import write_whole

_TAG = "tag:yaml.org,2002:"
# Tag, pattern, first characters. `yes`, `no`, `on`, `off` and 12:30:45 are plain strings, as in YAML 1.2.
_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0b[01][01_]*|0o[0-7][0-7_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|[0-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    (
        "timestamp",
        r"\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d"
        r"(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::\d\d)?))?",
        "0123456789",
    ),
    ("merge", r"<<", "<"),
)
_MAX_DEPTH = 1000
_NESTED = re.compile(r"^( *)[^\s#-][^\n]*: *\n\1( +)[^\s#-]", re.M)


@dataclass(frozen=True)
class Marks:
    """Where the values of a document stand in its text."""

    name: str
    root: Any

    def at(self, *keys: str | int) -> tuple[int, int]:
        """Line and column (from 1) of the key or item at this path, or of its nearest parent that exists."""
        node = mark = self.root
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            mark, node = found
        return (mark.start_mark.line + 1, mark.start_mark.column + 1) if mark is not None else (1, 1)

    def location(self, *keys: str | int) -> str:
        """``file:line:column`` of :meth:`at`."""
        line, column = self.at(*keys)
        return f"{self.name}:{line}:{column}"


def load_yaml(path: str | Path) -> tuple[Any, Marks]:
    """The one document of a file (``{}`` if there is none) and where its values stand."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise YamlParseError(f"Cannot read {path}: {error.strerror or error}.", location=str(path)) from error
    return load_yaml_text(_decode(raw, str(path)), str(path))


def load_yaml_text(text: str, name: str = "<text>") -> tuple[Any, Marks]:
    """The same for text; ``name`` stands for it in errors."""
    import yaml

    _check_depth(text, name)
    try:
        loader = _loader()(text.removeprefix("\ufeff"))
        try:
            root = loader.get_single_node()
            data = loader.construct_document(root) if root is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _marked_error(error, text, name) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        position = (before.count("\n") + 1, error.position - before.rfind("\n"))
        raise _error(f"character #x{_code(error.character):04x} is not allowed", name, *position) from error
    except RecursionError as error:
        raise _error("nested too deeply", name, 1, 1) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _error(str(error), name, 1, 1) from error
    return ({} if data is None else data), Marks(name, root)


@contextlib.contextmanager
def edit_yaml(path: str | Path) -> Iterator[Any]:
    """The file's mapping, to change in place; written back at the end with its comments, order and quotes kept."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.util import load_yaml_guess_indent

    file = Path(path)
    text = _decode(file.read_bytes(), str(file)) if file.exists() else ""
    load_yaml_text(text, str(file))
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    _, indent, offset = load_yaml_guess_indent(text)
    nested = _NESTED.search(text)
    yaml.indent(mapping=len(nested[2]) if nested else 2, sequence=indent or 2, offset=offset or 0)
    document = yaml.load(text)
    heading = text.rstrip("\n") + "\n" if document is None and text.strip() else ""
    if document is None:
        document = CommentedMap()
    yield document
    out = io.StringIO()
    yaml.dump(document, out)
    write_whole(file, (heading + out.getvalue()).encode())


def dump_yaml(data: Any) -> str:
    """``data`` as YAML text in its own order; texts of several lines stand as blocks."""
    import yaml

    result: str = yaml.dump(data, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=4096)
    return result


def _decode(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = raw[: error.start]
        line, column = good.count(b"\n") + 1, len(good[good.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        raise _error(
            f"byte 0x{raw[error.start]:02x} is not UTF-8", name, line, column, hint="save the file as UTF-8"
        ) from error


def _check_depth(text: str, name: str) -> None:
    """Refuse what would overflow the C parser's stack: it recurses, and dies with a segmentation fault."""
    if sum(text.count(opening) for opening in ("[", "{", "- ", "? ", "-\t", "?\t")) <= _MAX_DEPTH:
        return
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, Loader=_loader()):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                mark: Any = event.start_mark
                raise _error(f"nested more than {_MAX_DEPTH} deep", name, mark.line + 1, mark.column + 1)
    except yaml.YAMLError:
        return  # the parse that follows says where and why


@functools.cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers = _resolvers()

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Hashable] = set()
            for key, _ in node.value:
                if key.tag == _TAG + "merge" or not isinstance(key, yaml.ScalarNode):
                    continue
                value = self.construct_object(key)
                if value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
                seen.add(value)
            return super().construct_mapping(node, deep=deep)

        def construct_yaml_int(self, node: Any) -> int:
            text = self.construct_scalar(node).replace("_", "").lower()
            base = {"0b": 2, "0o": 8, "0x": 16}.get(text.lstrip("+-")[:2], 10)
            return int(text, base)

        def construct_yaml_float(self, node: Any) -> float:
            text = self.construct_scalar(node).replace("_", "").lower()
            return float(re.sub(r"\.(inf|nan)$", r"\1", text))

        def construct_scalar_value(self, node: Any) -> Any:
            kind = node.tag.removeprefix(_TAG)
            try:
                return getattr(self, f"construct_yaml_{kind}")(node)
            except ValueError as error:
                problem = f"{node.value!r} is not a valid {kind}: {error}"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    for kind in ("int", "float", "timestamp"):
        Loader.add_constructor(_TAG + kind, Loader.construct_scalar_value)
    return Loader


@functools.cache
def _dumper() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        yaml_implicit_resolvers = _resolvers()

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value and not re.search(r"[ \t]\n|[ \t]$|\t", value) else None
        return dumper.represent_scalar(_TAG + "str", value, style=style)

    # Readers of YAML 1.1 take these for booleans: quoted, they are strings to everybody.
    Dumper.add_implicit_resolver(_TAG + "bool", re.compile(r"^(?:yes|no|on|off|y|n)$", re.I), list("yYnNoO"))
    Dumper.add_representer(str, text)
    Dumper.add_multi_representer(str, lambda dumper, value: text(dumper, str(value)))
    return Dumper


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, pattern, firsts in _SCALARS:
        for first in firsts:
            resolvers.setdefault(first, []).append((_TAG + name, re.compile(f"^(?:{pattern})$")))
    return resolvers


def _child(node: Any, key: str | int) -> tuple[Any, Any] | None:
    """The node to point at and the value's node, for one step of a path."""
    kind = getattr(node, "id", "")
    if kind == "sequence" and isinstance(key, int) and -len(node.value) <= key < len(node.value):
        return node.value[key], node.value[key]
    if kind == "mapping":
        # From the back: keys merged in by `<<` come first, and the mapping's own win.
        for name, value in reversed(node.value):
            if getattr(name, "value", None) == str(key):
                return name, value
    return None


def _marked_error(error: Any, text: str, name: str) -> YamlParseError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or error.context or "invalid YAML"
    lines = text.rstrip("\n").split("\n")
    if line > len(lines):  # the parser was still waiting at the end
        line, column = len(lines), len(lines[-1]) + 1
    here = lines[line - 1]
    hint = ""
    if "\t" in here[: max(column, len(here) - len(here.lstrip()))]:
        problem, hint = "a tab stands where YAML wants spaces", "indent with spaces"
        column = here.index("\t") + 1
    elif "duplicate key" in problem:
        hint = "keep one of them"
    elif "found another document" in problem:
        problem, hint = "a second document starts here", "keep one document per file"
    elif "mapping values are not allowed" in problem:
        hint = "quote a text that contains ': '"
    elif "could not determine a constructor" in problem:
        problem = f"unknown tag {problem.split('for the tag')[-1].strip()}"
    return _error(problem, name, line, column, hint=hint)


def _error(problem: str, name: str, line: int, column: int, hint: str = "") -> YamlParseError:
    location = f"{name}:{line}:{column}"
    return YamlParseError(f"Cannot parse YAML: {problem} ({location}).", location=location, hint=hint)


def _code(character: Any) -> int:
    return ord(character) if isinstance(character, str) else int(character)
