"""The scripts of examples/embedded-model that need no torch: what the embedded model learns from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "examples" / "embedded-model"


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, Any]]:
    """The modules by name; they import each other as scripts do, and leave no trace."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: __import__(name) for name in ("grammar", "messages", "heldout", "conversations")}
    finally:
        sys.path.remove(str(FOLDER))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
                del sys.modules[name]


def readings(scripts: dict[str, Any], template: str) -> set[str]:
    grammar = scripts["grammar"].Grammar({"fruit": scripts["grammar"].parse("apple|pear")}, {"n": lambda rng: "7"})
    rng, parsed = Random(1), scripts["grammar"].parse(template)
    return {grammar.expand(parsed, rng) for _ in range(200)}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", {"plain"}),
        ("(a|b) c", {"a c", "b c"}),
        ("a [b] c", {"a c", "a b c"}),
        ("(a )?b", {"b", "a b"}),
        ("(a|b)? c", {"c", "a c", "b c"}),
        ("is it (new|old)?", {"is it", "is it new", "is it old"}),
        ("one {fruit} {n}", {"one apple 7", "one pear 7"}),
        (r"\{x\} \(y\)", {"{x} (y)"}),
        ("a[, b]", {"a", "a, b"}),
    ],
)
def test_a_template_has_these_readings(scripts: dict[str, Any], template: str, expected: set[str]) -> None:
    assert readings(scripts, template) == expected


@pytest.mark.parametrize("template", ["(a", "a)", "[a", "a]"])
def test_an_unbalanced_template_is_refused(scripts: dict[str, Any], template: str) -> None:
    with pytest.raises(ValueError, match="unbalanced|missing"):
        scripts["grammar"].parse(template)


def test_the_same_seed_makes_the_same_conversations(scripts: dict[str, Any]) -> None:
    make = scripts["conversations"].Conversations()
    first, second = ([make.make(Random(seed)) for seed in range(40)] for _ in range(2))
    assert first == second
    assert all(turns[-1].role == "assistant" for turns in first)


def test_every_template_can_be_read_out(scripts: dict[str, Any]) -> None:
    messages = scripts["messages"].Messages()
    for intent, sections in messages.cores.items():
        for templates in sections.values():
            for template in templates:
                assert messages.grammars[intent].expand(template, Random(0)) is not None


def test_held_out_phrases_and_parts_of_them_are_refused(scripts: dict[str, Any]) -> None:
    held_out = scripts["heldout"].HeldOut([FOLDER / "heldout.jsonl"])
    rows = [json.loads(line)["text"] for line in (FOLDER / "heldout.jsonl").read_text(encoding="utf-8").splitlines()]
    assert not any(held_out.allows(f"Hello! {row.upper()} thanks") for row in rows)
    assert held_out.allows("A phrase that nobody held out so far.")
