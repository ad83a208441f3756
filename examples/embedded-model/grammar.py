"""A small template language: (a|b) chooses, [x] and (x)? may be left out, {name} is another list, backslash escapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

Node = Callable[["Grammar", Random], str]
OPTIONAL = 0.4


class Grammar:
    """Named lists of templates. ``values`` answers names that are made, not listed (numbers, invented words)."""

    def __init__(self, lists: Mapping[str, Node], values: Mapping[str, Callable[[Random], str]]) -> None:
        self.lists = dict(lists)
        self.values = dict(values)

    def extended(self, lists: Mapping[str, Node]) -> Grammar:
        return Grammar({**self.lists, **lists}, self.values)

    def expand(self, template: Node, rng: Random) -> str:
        return re.sub(r" {2,}", " ", template(self, rng)).replace(" ,", ",").strip(" ")

    def word(self, name: str, rng: Random) -> str:
        made = self.values.get(name)
        return made(rng) if made else self.lists[name](self, rng)


def parse(text: str) -> Node:
    """``text`` as a function that makes one of its readings."""
    node, end = _alternatives(text, 0, "")
    if end != len(text):
        raise ValueError(f"unbalanced bracket at {end} in {text!r}")
    return node


def _alternatives(text: str, at: int, closing: str) -> tuple[Node, int]:
    options: list[Node] = []
    parts: list[Node] = []
    while at < len(text) and text[at] != closing:
        char = text[at]
        if char == "|":
            options.append(_sequence(parts))
            parts, at = [], at + 1
        elif char in "([":
            inner, at = _alternatives(text, at + 1, ")" if char == "(" else "]")
            at += 1
            optional = char == "["
            if char == "(" and text[at : at + 1] == "?" and (text[at - 2] == " " or text[at + 1 : at + 2] in ("", " ")):
                optional, at = True, at + 1
            parts.append(_maybe(inner) if optional else inner)
        elif char == "{":
            end = text.index("}", at)
            parts.append(_slot(text[at + 1 : end]))
            at = end + 1
        elif char == "\\":
            parts.append(_literal("\n" if text[at + 1] == "n" else text[at + 1]))
            at += 2
        elif char in ")]":
            raise ValueError(f"unbalanced bracket at {at} in {text!r}")
        else:
            end = at
            while end < len(text) and text[end] not in "|([{\\)]":
                end += 1
            parts.append(_literal(text[at:end]))
            at = end
    if closing and at >= len(text):
        raise ValueError(f"missing {closing} in {text!r}")
    options.append(_sequence(parts))
    return (options[0] if len(options) == 1 else lambda g, r: r.choice(options)(g, r)), at


def _sequence(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else lambda g, r: "".join([part(g, r) for part in parts])


def _literal(text: str) -> Node:
    return lambda g, r: text


def _slot(name: str) -> Node:
    return lambda g, r: g.word(name, r)


def _maybe(inner: Node) -> Node:
    return lambda g, r: inner(g, r) if r.random() < OPTIONAL else ""


def read(path: Path) -> tuple[dict[str, Node], dict[str, list[Node]]]:
    """The lists (``name: a | b``) at the head of a file, and its ``[section]``s of one template a line."""
    lists: dict[str, Node] = {}
    sections: dict[str, list[Node]] = {}
    current: list[Node] | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        header = re.fullmatch(r"\[([a-z_ ]+)\]", line)
        if not line or line.startswith("# "):
            continue
        if header and _is_section(header.group(1)):
            current = sections.setdefault(header.group(1), [])
        elif current is None and (named := re.match(r"([a-z_]+): ", line)):
            lists[named.group(1)] = _trimmed(line[named.end() :])
        elif current is None:
            sections.setdefault("", []).append(_trimmed(line))
        else:
            current.append(_trimmed(line) if " | " in line else parse(line))
    return lists, sections


def _is_section(name: str) -> bool:
    return name.split()[0] in SECTIONS


SECTIONS = (
    "acts you nouns questions facts frames positive negative neutral intent sentiment json both reply "
    "refund cancel_order delivery_status technical_issue billing account_access product_question feedback"
).split()


def _trimmed(text: str) -> Node:
    return parse(text.replace(" | ", "|"))
