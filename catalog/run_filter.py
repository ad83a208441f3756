"""The conditions that runs are found by, as MLflow writes them: ``metrics.f1 > 0.8 and tags.team = 'search'``."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from promptflow.exceptions import ValidationException

METRIC, TAG, FIELD = "metric", "tag", "field"
FIELDS = ("name", "status", "kind", "flow", "data", "created", "display_name", "description")
_KINDS = {"metrics": METRIC, "metric": METRIC, "tags": TAG, "tag": TAG}
_OPERATORS = {"=": "=", "==": "=", "!=": "<>", "<>": "<>", ">": ">", ">=": ">=", "<": "<", "<=": "<=", "like": "LIKE"}
_CONDITION = re.compile(
    r"""\s*(?P<key>[\w.-]+\.(?:`[^`]+`|"[^"]+"|[^\s=!<>'"`]+)|\w+)\s*
        (?P<operator>==|!=|<>|>=|<=|=|>|<|like\b)\s*
        (?P<value>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s'"]+)\s*(?P<and>and\b|$)""",
    re.X | re.I,
)
_HINT = "write metrics.f1 > 0.8 and tags.team = 'search' and status = 'Completed'"


@dataclass(frozen=True)
class Condition:
    """``kind`` is one of the three above, ``operator`` SQL's."""

    kind: str
    name: str
    operator: str
    value: str | float


@dataclass(frozen=True)
class Order:
    """What to sort by."""

    kind: str
    name: str
    descending: bool


def parse_filter(text: str) -> list[Condition]:
    """The conditions, all of which must hold. ValidationException shows where it goes wrong."""
    found: list[Condition] = []
    at, more = 0, bool(text.strip())
    while more:
        match = _CONDITION.match(text, at)
        if match is None:
            raise ValidationException(f"The filter cannot be read from {text[at : at + 40].strip()!r} on.", hint=_HINT)
        kind, name = _key(match["key"])
        value = _value(match["value"])
        operator = _OPERATORS[match["operator"].lower()]
        if kind == METRIC and not isinstance(value, float):
            raise ValidationException(
                f"A metric is a number: {match[0].strip()!r} compares it with a text.", hint=_HINT
            )
        found.append(Condition(kind, name, operator, value if kind == METRIC else match_text(match["value"])))
        at, more = match.end(), bool(match["and"])
    return found


def parse_order(text: str) -> Order:
    """``-metrics.f1`` or ``metrics.f1 desc``: the highest first; ``name``, ``created asc``."""
    words = text.split()
    descending = text.startswith("-") or words[-1:] in (["desc"], ["DESC"])
    key = words[0].removeprefix("-") if words else ""
    if not key or len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
        raise ValidationException(f"{text!r} is nothing to order by.", hint="write -metrics.f1, or created")
    kind, name = _key(key)
    return Order(kind, name, descending)


def match_text(word: str) -> str:
    """A value as text, without its quotes."""
    if word[:1] in ("'", '"') and word[-1:] == word[:1]:
        return re.sub(r"\\(.)", r"\1", word[1:-1])
    return word


def _value(word: str) -> str | float:
    try:
        return float(word)
    except ValueError:
        return match_text(word)


def _key(text: str) -> tuple[str, str]:
    head, dot, name = text.partition(".")
    if head == "attributes" or not dot:
        field = name or head
        if field in FIELDS:
            return FIELD, field
        close = difflib.get_close_matches(field, FIELDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"metrics.NAME, tags.NAME, {', '.join(FIELDS)}"
        raise ValidationException(f"Runs have no {field!r}.", hint=hint)
    if head not in _KINDS:
        raise ValidationException(f"Runs have no {head!r}.", hint="metrics.NAME or tags.NAME")
    return _KINDS[head], match_text(name.strip("`"))
