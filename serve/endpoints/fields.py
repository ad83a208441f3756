"""Fields of a YAML mapping, read one by one: whatever is wrong is noted with its place, and told all at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from catalog.schemas import AssetFileError, check_texts
from promptflow.contracts.flow import Problem
from promptflow.exceptions import ValidationException
from promptflow.workspace.yamlfile import Marks

T = TypeVar("T")
Path = tuple[str | int, ...]

# Mappings of names to texts: nothing stands below a name, which may have dots in it.
FLAT = ("tags", "properties", "environment_variables")
_UNITS = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
}  # fmt: skip
_BYTES = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([kmgt]i?)?b?", re.I)


@dataclass
class Findings:
    """What was found in one file. ``marks`` is None for what no file says."""

    marks: Marks | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def problem(self, path: Path, message: str, hint: str = "") -> None:
        line, column = self.marks.at(*path) if self.marks else (0, 0)
        elsewhere = self.marks.location(*path) if self.marks and not line else ""  # such as a flag
        self.problems.append(Problem(message, line, column, hint, elsewhere or _dotted(path)))

    def warn(self, path: Path, message: str) -> None:
        place = self.marks.location(*path) if self.marks else ""
        self.warnings.append(f"{place}: {message}" if place else message)

    def check(self) -> None:
        """AssetFileError with all that is wrong."""
        if self.problems:
            ordered = sorted(self.problems, key=lambda one: (one.line, one.column))
            name = self.marks.name if self.marks else ""
            raise AssetFileError(ordered[0].message, problems=tuple(ordered), location=name)


class Fields:
    """The fields of one mapping. One that is missing or null is its default; one that nobody asked for is unknown."""

    def __init__(self, data: Mapping[str, Any], findings: Findings, path: Path = ()) -> None:
        self.data, self.findings, self.path = data, findings, path
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        return self.data.get(key) is not None

    def text(self, key: str, default: str = "") -> str:
        return self._read(key, default, _text)

    def whole(self, key: str, default: int, low: int = 0, high: int = 2**31) -> int:
        return self._read(key, default, lambda value: _whole(value, low, high))

    def number(self, key: str, default: float, low: float = 0.0, high: float = float("inf")) -> float:
        return self._read(key, default, lambda value: _number(value, low, high))

    def truth(self, key: str, default: bool = False) -> bool:
        return self._read(key, default, _truth)

    def size(self, key: str) -> int:
        """Bytes, written as ``200Mi`` or ``2GB``; 0 where it is missing."""
        return self._read(key, 0, _size)

    def choice(self, key: str, default: str, choices: Collection[str]) -> str:
        """One of these, in any case and in CamelCase as well."""
        return self._read(key, default, lambda value: _choice(value, choices))

    def texts(self, key: str) -> dict[str, str]:
        return self._read(key, {}, lambda value: check_texts(key, value))

    def mapping(self, key: str) -> dict[str, Any]:
        return self._read(key, {}, _mapping)

    def items(self, key: str) -> tuple[str, ...]:
        return self._read(key, (), _items)

    def read(self, key: str, default: T, reader: Callable[[Any], T]) -> T:
        """Whatever ``reader`` makes of it; its ValidationException is noted."""
        return self._read(key, default, reader)

    def section(self, key: str) -> Fields:
        """The fields of a mapping inside; none where it is missing."""
        return Fields(self.mapping(key), self.findings, (*self.path, key))

    def keep(self, *keys: str) -> dict[str, Any]:
        """Fields that are kept as they are."""
        self._asked.update(keys)
        return {key: self.data[key] for key in keys if self.has(key)}

    def problem(self, key: str, message: str, hint: str = "") -> None:
        self.findings.problem((*self.path, key) if key else self.path, message, hint)

    def end(self, what: str) -> None:
        """Warn of the fields that nobody asked for."""
        for key in self.data:
            if key not in self._asked:
                close = difflib.get_close_matches(str(key), self._asked, n=1, cutoff=0.6)
                hint = f" (did you mean {close[0]}?)" if close else ""
                self.findings.warn((*self.path, str(key)), f"{what} has no '{key}'{hint}; it is read over")

    def _read(self, key: str, default: T, reader: Callable[[Any], T]) -> T:
        self._asked.add(key)
        if not self.has(key):
            return default
        try:
            return reader(self.data[key])
        except ValidationException as error:
            message = error.message if error.message.startswith(("'", "The ", "There ")) else f"'{key}' {error.message}"
            self.problem(key, message, error.hint)
        except OSError as error:
            self.problem(key, f"'{key}' is {_shown(self.data[key])}: {error.strerror}.")
        return default


def check_mapping(data: Any, marks: Marks, what: str) -> dict[str, Any]:
    """The mapping that a file must be."""
    if not isinstance(data, dict):
        raise ValidationException(f"{what} is a mapping of keys to values.", location=marks.location())
    return data


def _text(value: Any) -> str:
    if isinstance(value, Mapping | list | bool):
        raise ValidationException(f"is a text, not {_kind(value)}.")
    return str(value)


def _whole(value: Any, low: int, high: int) -> int:
    number = _as_number(value)
    if number is None or number != int(number) or not low <= number <= high:
        limits = f"from {low} to {high}" if high < 2**31 else f"of at least {low}"
        raise ValidationException(f"is {_shown(value)}, and is a whole number {limits}.")
    return int(number)


def _number(value: Any, low: float, high: float) -> float:
    number = _as_number(value)
    if number is None or not low <= number <= high:
        limits = f"from {low:g} to {high:g}" if high < float("inf") else f"of at least {low:g}"
        raise ValidationException(f"is {_shown(value)}, and is a number {limits}.")
    return number


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None  # false for what is no number, too


def _truth(value: Any) -> bool:
    word = str(value).lower()
    if word not in ("true", "false"):
        raise ValidationException(f"is {_shown(value)}, and is true or false.")
    return word == "true"


def _size(value: Any) -> int:
    match = _BYTES.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise ValidationException(f"is {_shown(value)}, and is an amount of memory.", hint="such as 512Mi or 2Gi")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def _choice(value: Any, choices: Collection[str]) -> str:
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(value)).lower().replace("-", "_")
    if word not in choices:
        close = difflib.get_close_matches(word, choices, n=1)
        hint = f"did you mean {close[0]}?" if close else ""
        raise ValidationException(f"is {_shown(value)}, and is one of {', '.join(sorted(choices))}.", hint=hint)
    return word


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValidationException(f"is a mapping, not {_kind(value)}.")
    return {str(name): inner for name, inner in value.items()}


def _items(value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        raise ValidationException(f"is a list, not {_kind(value)}.")
    return tuple(_text(item) for item in (value if isinstance(value, list) else [value]))


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else "true or false" if isinstance(value, bool) else f"{value!r}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _dotted(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
