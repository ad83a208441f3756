"""Searching line runs: comparisons in Python's syntax, joined by ``and`` and ``or``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from promptflow.exceptions import ValidationException

_TOKENS = ("total", "prompt", "completion")
FIELDS = ("name", "kind", "status", "start_time", "collection", "run", "session_id", *_TOKENS)
_COUNTS = "cumulative_token_count"
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
_EXAMPLE = 'name == "ask" and 100 < total <= 200'
_LONGEST = 4000

Test = Callable[[Mapping[str, Any]], bool]
Value = Callable[[Mapping[str, Any]], Any]


class SearchError(ValidationException):
    """An expression that is none."""


@dataclass(frozen=True)
class Expression:
    """What a line run must be like."""

    fits: Test

    @classmethod
    def parse(cls, text: str) -> Self:
        """SearchError says what is wrong."""
        try:
            if len(text) > _LONGEST:
                raise ValueError("it is too long")
            tree = ast.parse(text.strip(), mode="eval").body
            return cls(_test(tree))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise SearchError(f"The expression {text[:80]!r} cannot be read: {error}.", hint=_EXAMPLE) from None


def _test(node: ast.expr) -> Test:
    if isinstance(node, ast.BoolOp):
        tests = [_test(value) for value in node.values]
        joined = all if isinstance(node.op, ast.And) else any
        return lambda run: joined(test(run) for test in tests)
    if not isinstance(node, ast.Compare):
        raise SearchError("Only comparisons are searched for, joined by and, or.", hint=_EXAMPLE)
    values = [_value(one, node) for one in (node.left, *node.comparators)]
    operators = [_COMPARED.get(type(one)) for one in node.ops]
    if None in operators:
        raise SearchError("Values are compared with ==, !=, <, <=, > or >=.", hint=_EXAMPLE)
    pairs = [
        (compare, left, right) for compare, left, right in zip(operators, values, values[1:], strict=False) if compare
    ]
    return lambda run: all(_holds(compare, left(run), right(run)) for compare, left, right in pairs)


def _value(node: ast.expr, among: ast.Compare) -> Value:
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str | int | float)
        and not isinstance(node.value, bool)
    ):
        value = _constant(node.value, among)
        return lambda run: value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return _value(ast.Constant(-node.operand.value), among)  # type: ignore[operator]
    name = _name(node)
    if name in _TOKENS:
        return lambda run: (run[_COUNTS] or {}).get(name)
    if name not in FIELDS:
        raise SearchError(f"{ast.unparse(node)[:80]} is not searched.", hint=f"fields: {', '.join(FIELDS)}")
    return lambda run: run[name]


def _name(node: ast.expr) -> str:
    """``total``, which may also be said as ``cumulative_token_count.total``."""
    if isinstance(node, ast.Name):
        return node.id
    is_count = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == _COUNTS
    return node.attr if is_count and isinstance(node, ast.Attribute) else ""


def _constant(value: Any, among: ast.Compare) -> Any:
    """Pages call what is Ok complete; times are written in many ways."""
    names = {_name(one) for one in (among.left, *among.comparators)}
    if "status" in names and value == "complete":
        return "Ok"
    if "start_time" in names:
        return datetime.fromisoformat(str(value)).replace(tzinfo=None).isoformat()
    return value


def _holds(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    """Nothing is true of what is not there, as in SQL."""
    if left is None or right is None:
        return False
    try:
        return bool(compare(left, right))
    except TypeError:
        return False
