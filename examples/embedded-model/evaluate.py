"""Measure the exported model through the engine that serves it: accuracy with 95 % intervals, per prompt wording."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from messages import INTENTS, SENTIMENTS, Message, Messages  # noqa: E402

from serve.engines import open_engine  # noqa: E402
from serve.engines.base import Engine, Request, Sampling  # noqa: E402

LABELS = ", ".join(INTENTS)


@dataclass(frozen=True)
class Wording:
    """One way to ask. ``trained``: the wording (never the message) is of a kind that the training uses."""

    name: str
    task: str
    system: str
    user: str
    trained: bool
    read: Callable[[str], object] = str.strip


def from_json(key: str) -> Callable[[str], object]:
    def read(answer: str) -> object:
        try:
            return json.loads(answer).get(key)
        except (ValueError, AttributeError):
            return None

    return read


WORDINGS = (
    Wording(
        "instruction and labels",
        "intent",
        f"Classify the intent of the customer message. The labels are: {LABELS}. Answer with the label only.",
        "{text}",
        trained=True,
    ),
    Wording("instruction", "intent", "Classify the intent of the message.", "{text}", trained=True),
    Wording(
        "labels, other words",
        "intent",
        f"Your job: decide what our shopper is after. These are the only allowed answers: {LABELS}.",
        "The shopper wrote: {text}",
        trained=False,
    ),
    Wording("one line, user only", "intent", "", "What is the intent of this message? {text}", trained=True),
    Wording("casual question", "intent", "", "What does this customer want?\n\n{text}", trained=False),
    Wording("kind of message", "intent", "", "{text}\n\nWhat kind of message is this?", trained=False),
    Wording("terse question", "intent", "", "{text}\nWhat is this about?", trained=False),
    Wording("terse word", "intent", "", "Intent? {text}", trained=False),
    Wording("terse system", "intent", "Intent.", "{text}", trained=False),
    Wording(
        "few examples",
        "intent",
        "Name the reason for contact.\nExample: 'I want to hand these boots in' is refund.\n"
        "Example: 'stop my paper subscription' is cancel_order.\nExample: 'who has my box' is delivery_status.",
        "{text}",
        trained=False,
    ),
    Wording(
        "json",
        "intent",
        f'Classify the intent of the message. Labels: {LABELS}. Answer in JSON with the key "intent".',
        "{text}",
        trained=True,
        read=from_json("intent"),
    ),
    Wording(
        "sentiment",
        "sentiment",
        "Classify the sentiment of the message. Answer with positive, negative or neutral only.",
        "{text}",
        trained=True,
    ),
    Wording(
        "sentiment, user only",
        "sentiment",
        "",
        "Is this message positive, negative or neutral? {text}",
        trained=True,
    ),
    Wording(
        "sentiment, other words",
        "sentiment",
        "",
        'Somebody wrote "{text}". Are they happy (positive), unhappy (negative) or neither (neutral)?',
        trained=False,
    ),
    Wording(
        "both as json",
        "both",
        f"Find the intent and the sentiment of the message. Intents: {LABELS}. "
        'Answer in JSON: {"intent": ..., "sentiment": ...}',
        "{text}",
        trained=True,
        read=lambda answer: tuple(from_json(key)(answer) for key in ("intent", "sentiment")),
    ),
)


def wanted(row: Message, task: str) -> object:
    return {"intent": row.intent, "sentiment": row.sentiment, "both": (row.intent, row.sentiment)}[task]


async def ask(engine: Engine, wording: Wording, text: str) -> object:
    messages = [{"role": "system", "content": wording.system}] if wording.system else []
    messages.append({"role": "user", "content": wording.user.replace("{text}", text)})
    request = Request(messages=messages, sampling=Sampling(max_tokens=32, temperature=0))
    return wording.read("".join([piece.text async for piece in engine.generate(request)]))


def interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


async def measure(engine: Engine, wording: Wording, rows: list[Message]) -> dict[str, Any]:
    answers = await asyncio.gather(*(ask(engine, wording, row.text) for row in rows))
    right = [answer == wanted(row, wording.task) for answer, row in zip(answers, rows, strict=True)]
    low, high = interval(sum(right), len(rows))
    labels = {"intent": INTENTS, "sentiment": SENTIMENTS}.get(wording.task, ())
    return {
        "accuracy": round(sum(right) / len(rows), 4),
        "interval": [round(low, 4), round(high, 4)],
        "rows": len(rows),
        "no_label": sum(answer not in labels for answer in answers) if labels else None,
        "confusions": Counter(
            f"{wanted(row, wording.task)} -> {answer}"
            for answer, row in zip(answers, rows, strict=True)
            if answer != wanted(row, wording.task)
        ),
    }


def read_rows(file: Path) -> list[Message]:
    return [Message(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def evaluate(model: str, files: list[Path], out: Path | None = None, errors: bool = False) -> None:
    """Print a line per wording and set of rows; ``generator`` is the kind of message that the training has seen."""
    rng, make = Random(4711), Messages()
    sets = {"generator": [make.make(rng) for _ in range(800)], **{file.stem: read_rows(file) for file in files}}
    engine = open_engine(model)
    engine.load()
    figures: dict[str, dict[str, Any]] = {}
    for wording in WORDINGS:
        figures[wording.name] = {"wording": "trained" if wording.trained else "unseen"}
        for name, rows in sets.items():
            figures[wording.name][name] = asyncio.run(measure(engine, wording, rows))
            print(line(wording, name, figures[wording.name][name], errors))
    engine.unload()
    if out:
        out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def line(wording: Wording, name: str, result: dict[str, Any], errors: bool) -> str:
    low, high = result["interval"]
    kind = "trained" if wording.trained else "unseen"
    text = f"{wording.name:24} {kind:8} {name:10} {result['accuracy']:6.1%}  [{low:.1%}, {high:.1%}]"
    text += f"  no label: {result['no_label']}" if result["no_label"] else ""
    listed = result["confusions"].most_common(12) if errors else ()
    return "\n".join([text, *(f"    {count:3} {confusion}" for confusion, count in listed)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="builtin/intent-mini", help="a builtin name or a model folder")
    parser.add_argument("--rows", type=Path, nargs="*", default=[HERE / "heldout.jsonl", HERE / "fresh.jsonl"])
    parser.add_argument("--errors", action="store_true", help="list the confusions too")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args()
    evaluate(args.model, args.rows, args.out, args.errors)


if __name__ == "__main__":
    main()
