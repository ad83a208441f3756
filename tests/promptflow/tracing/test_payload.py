"""Any value as JSON text."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import pytest

from promptflow.connections import OpenAIConnection
from promptflow.connections.model_config import OpenAIModelConfiguration
from promptflow.contracts.multimedia import Image
from promptflow.contracts.types import AssistantDefinition, PromptTemplate, Secret
from promptflow.tracing.payload import MAX_PAYLOAD, dumps, plain


class Color(str, enum.Enum):  # noqa: UP042 (as users write it)
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    key: Secret = Secret("hidden")


@dataclasses.dataclass
class Stranger:
    key: Secret
    url: str = "u"


class Model:
    def model_dump(self) -> dict[str, Any]:
        return {"a": 1}


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


Pair = namedtuple("Pair", "a b")
circle: list[Any] = []
circle.append(circle)
deep: Any = 1
for _ in range(500):
    deep = [deep]


@pytest.mark.parametrize(
    "value, expected",
    [
        ({"a": [1, 2.5, None, True, "é"]}, {"a": [1, 2.5, None, True, "é"]}),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        (OpenAIConnection("hidden"), "OpenAIConnection"),
        (Secret("hidden"), "******"),
        (PromptTemplate("{{x}}"), "{{x}}"),
        (Point(1), {"x": 1, "key": "******"}),
        (Stranger(Secret("hidden")), {"key": "******", "url": "u"}),
        (
            OpenAIModelConfiguration("m", api_key="hidden"),
            {"model": "m", "base_url": None, "api_key": "******", "organization": None, "connection": None},
        ),
        (Color.RED, "red"),
        (OrderedDict(a=1), {"a": 1}),
        (Pair(1, 2), [1, 2]),
        ({3}, [3]),
        (Model(), {"a": 1}),
        (AssistantDefinition("m", "i"), {"model": "m", "instructions": "i", "tools": []}),
        (b"1234", "<4 bytes>"),
        (Path("/a"), "/a"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (float("nan"), None),
        (2**70, 2**70),
        ("half \ud800 pair", "half ? pair"),
        ({"a": {"b": circle}}, {"a": {"b": ["<list>"]}}),
        (print, "print"),
    ],
)
def test_values(value: Any, expected: Any) -> None:
    assert json.loads(dumps(value)) == expected


def test_an_image_is_shown_by_its_hash() -> None:
    image = Image(b"\x89PNG\r\n\x1a\n123", mime_type="image/png")
    assert plain({"i": image}) == {"i": str(image)}


@pytest.mark.parametrize("value", [Hostile(), [Hostile()], deep, object()])
def test_nothing_makes_it_raise(value: Any) -> None:
    json.loads(dumps(value))


def test_a_huge_payload_is_cut() -> None:
    shown = json.loads(dumps("x" * (MAX_PAYLOAD + 10)))
    assert shown["truncated"] is True and len(shown["head"]) == 10_000
