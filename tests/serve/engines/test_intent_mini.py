"""What the card of the embedded model claims, measured on messages that its training never saw."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from serve.engines import BUILTIN
from serve.engines.base import Engine
from tests.serve.engines.asking import ask_all, chat

FOLDER = BUILTIN / "intent-mini"
HELD_OUT = Path(__file__).parents[3] / "examples" / "embedded-model" / "heldout.jsonl"
ROWS = [json.loads(line) for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]
LABELS = ", ".join(dict.fromkeys(row["intent"] for row in ROWS))


def accuracy(engine: Engine, system: str, wanted: str, read: Callable[[str], str] = str) -> float:
    answers = ask_all(engine, [chat(row["text"], system=system) for row in ROWS])
    right = [bool(read(answer) == row[wanted]) for answer, row in zip(answers, ROWS, strict=True)]
    return sum(right) / len(right)


@pytest.mark.parametrize(
    "system",
    [
        f"Classify the intent of the customer message. The labels are: {LABELS}. Answer with the label only.",
        "Classify the intent of the message.",
    ],
)
def test_nine_of_ten_unseen_messages_get_their_intent(intent_mini: Engine, system: str) -> None:
    assert accuracy(intent_mini, system, "intent") >= 0.90


def test_nine_of_ten_unseen_messages_get_their_sentiment(intent_mini: Engine) -> None:
    system = "Classify the sentiment of the message. Answer with positive, negative or neutral only."
    assert accuracy(intent_mini, system, "sentiment") >= 0.90


@pytest.mark.parametrize("key", ["intent", "sentiment"])
def test_json_holds_the_same_labels(intent_mini: Engine, key: str) -> None:
    system = (
        f"Find the intent and the sentiment of the message. Intents: {LABELS}. "
        'Answer in JSON: {"intent": ..., "sentiment": ...}'
    )
    assert accuracy(intent_mini, system, key, lambda answer: json.loads(answer)[key]) >= 0.88


def test_the_files_are_small_enough_for_the_wheel() -> None:
    size = sum((FOLDER / name).stat().st_size for name in ("model.onnx", "model.safetensors"))
    assert size <= 3_000_000, "the graph is to read the weights where torch does"


def test_the_weights_that_the_graph_reads_beside_it_are_counted(intent_mini: Engine) -> None:
    size = sum((FOLDER / name).stat().st_size for name in ("model.onnx", "model.safetensors"))
    assert intent_mini.stats().weights_bytes == size


def test_the_card_states_the_number_of_parameters() -> None:
    with (FOLDER / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    bytes_in_all = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    stated = re.search(r"([\d.]+) million parameters", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert stated and float(stated[1]) == pytest.approx(bytes_in_all / 2 / 1e6, abs=0.05)
