"""``${inputs.x}``, ``${node.output.a[0]}``: references, parsed once.

Grammar of the property part (Prompt flow 1.18.5): names, ``[0]`` and ``['key']``, separated by dots or not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_PART = re.compile(r"(\w+)|\['(.*?)'\]|\[\"(.*?)\"\]|\[(\d+)\]")
_INPUT_PREFIXES = ("inputs.", "flow.")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to a flow input (``node`` is None) or to a node's output.

    ``section`` is ``output`` in every reference that can run. ``path`` steps into the value: names and indexes.
    """

    text: str
    name: str
    node: str | None
    section: str = "output"
    path: tuple[str | int, ...] = ()

    @property
    def is_input(self) -> bool:
        return self.node is None


def is_reference(value: Any) -> bool:
    """Whether a YAML value is a reference: the whole string, nothing around it."""
    return isinstance(value, str) and value.startswith("${") and value.endswith("}") and len(value) > 3


def parse_reference(value: str) -> Reference:
    """Parse ``${...}``. What it names is checked against the flow later."""
    body = value[2:-1]
    for prefix in _INPUT_PREFIXES:
        if body.startswith(prefix):
            # the whole rest is the input's name: inputs are not stepped into
            return Reference(value, body[len(prefix) :], None)
    node, _, rest = body.partition(".")
    section, _, tail = rest.partition(".") if rest else ("output", "", "")
    return Reference(value, node, node, section, parse_path(tail))


def parse_path(text: str) -> tuple[str | int, ...]:
    """``a.b[0]['k']`` -> ``("a", "b", 0, "k")``."""
    return tuple(
        int(index) if index else (name or single or double) for name, single, double, index in _PART.findall(text)
    )
