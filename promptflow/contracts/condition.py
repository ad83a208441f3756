"""Conditions of ``activate.when``: an expression over references, parsed to a small tree and never to code.

Allowed: ``==  !=  <  <=  >  >=  in  not in  and  or  not``, parentheses, lists, strings, numbers, ``true``,
``false``, ``null`` (and Python's spellings). Everything else is an ExpressionError with its column.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from promptflow.contracts.reference import Reference, parse_reference
from promptflow.exceptions import ExpressionError

_REFERENCE = re.compile(r"\$\{[^{}]*\}")
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: a is b or a == b,
    ast.IsNot: lambda a, b: not (a is b or a == b),
}
_MAX_LENGTH = 4096


@dataclass(frozen=True)
class Condition:
    """A parsed condition. ``references`` are what it reads, in the order of their place-holders."""

    text: str
    references: tuple[Reference, ...]
    tree: ast.expr

    def evaluate(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds; ``values`` maps each reference's text to its value.

        Raises ExpressionError where values cannot be compared (``"a" < 1``).
        """
        try:
            return bool(_evaluate(self.tree, [values[reference.text] for reference in self.references]))
        except TypeError as error:
            raise ExpressionError(f"Condition {self.text!r} cannot be evaluated: {error}") from error


def parse_condition(text: str) -> Condition:
    """Parse a condition. Raises ExpressionError naming the column."""
    references: list[Reference] = []

    def placeholder(match: re.Match[str]) -> str:
        references.append(parse_reference(match.group()))
        return f"_r{len(references) - 1}_"

    if len(text) > _MAX_LENGTH:
        raise ExpressionError(f"Condition is longer than {_MAX_LENGTH} characters.")
    source = _REFERENCE.sub(placeholder, text.strip())
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        column = getattr(error, "offset", None)
        where = f" at column {column}" if column else ""
        raise ExpressionError(
            f"Condition {text!r} is not valid{where}.",
            hint="write for example: ${a.output} != 'x' and ${inputs.n} > 3",
        ) from error
    _check(tree, text)
    return Condition(text, tuple(references), tree)


def _check(node: ast.AST, text: str) -> None:
    allowed = (ast.BoolOp, ast.Compare, ast.List, ast.Tuple, ast.Set, ast.Constant, ast.Load, ast.boolop, ast.cmpop)
    if isinstance(node, ast.Name):
        if not re.fullmatch(r"_r\d+_", node.id) and node.id.lower() not in _CONSTANTS:
            raise ExpressionError(
                f"Condition {text!r} names {node.id!r}, which is no reference.",
                hint=f"quote a text ('{node.id}') or write a reference (${{{node.id}.output}})",
            )
        return
    if isinstance(node, ast.UnaryOp):
        if not isinstance(node.op, ast.Not | ast.USub):
            raise ExpressionError(f"Condition {text!r}: operator {type(node.op).__name__} is not allowed.")
        _check(node.operand, text)
        return
    if not isinstance(node, allowed):
        raise ExpressionError(
            f"Condition {text!r}: {type(node).__name__} is not allowed in a condition.",
            hint="use comparisons, in, not, and, or, lists and constants",
        )
    for child in ast.iter_child_nodes(node):
        _check(child, text)


def _evaluate(node: ast.expr, values: list[Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return _CONSTANTS[node.id.lower()] if node.id.lower() in _CONSTANTS else values[int(node.id[2:-1])]
        case ast.List() | ast.Tuple() | ast.Set():
            return [_evaluate(item, values) for item in node.elts]
        case ast.UnaryOp():
            value = _evaluate(node.operand, values)
            return (not value) if isinstance(node.op, ast.Not) else -value
        case ast.BoolOp():
            stop_at = isinstance(node.op, ast.Or)
            result: Any = not stop_at
            for item in node.values:
                result = _evaluate(item, values)
                if bool(result) is stop_at:
                    break
            return result
        case ast.Compare():
            left = _evaluate(node.left, values)
            for op, comparator in zip(node.ops, node.comparators, strict=True):
                right = _evaluate(comparator, values)
                if not _COMPARE[type(op)](left, right):
                    return False
                left = right
            return True
    raise ExpressionError(f"{type(node).__name__} is not allowed in a condition.")
