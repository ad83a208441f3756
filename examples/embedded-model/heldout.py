"""Keeps held-out phrases out of the training."""

from __future__ import annotations

import json
import re
from pathlib import Path


class HeldOut:
    """Phrases that must not be learned: a message is refused when it repeats one, or five words of one in a row."""

    def __init__(self, files: list[Path], run: int = 5) -> None:
        self.run = run
        self.runs: set[tuple[str, ...]] = set()
        self.refused = 0
        for file in files:
            for line in file.read_text(encoding="utf-8").splitlines():
                words = plain(json.loads(line)["text"])
                size = min(run, len(words))
                self.runs |= {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}
        self.sizes = sorted({len(words) for words in self.runs})

    def allows(self, text: str) -> bool:
        words = plain(text)
        for size in self.sizes:
            if any(tuple(words[at : at + size]) in self.runs for at in range(len(words) - size + 1)):
                self.refused += 1
                return False
        return True


def plain(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower().replace("'", ""))
