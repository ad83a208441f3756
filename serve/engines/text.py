"""From token ids to text as it grows: whole characters only, and nothing past a stop string."""

from __future__ import annotations

from typing import Any


class Speaker:
    """Turns ids into text one at a time; a character that is still incomplete waits for its next token.

    Special tokens are silent, but for one that is named ``shown``: a tool call can begin with it.
    """

    def __init__(self, tokenizer: Any, shown: str = "") -> None:
        self.tokenizer = tokenizer
        self.shown = tokenizer.token_to_id(shown) if shown else None
        self.shown_text = shown
        self.ids: list[int] = []
        # Text is decoded from a few tokens back: some tokenizers drop the space of a first token.
        self.start = self.spoken = 0

    def push(self, token: int) -> str:
        if token == self.shown:
            return self.shown_text
        self.ids.append(token)
        before = self.tokenizer.decode(self.ids[self.start : self.spoken])
        now = self.tokenizer.decode(self.ids[self.start :])
        if now.endswith("\ufffd") and len(self.ids) - self.spoken < 4:
            return ""
        self.start, self.spoken = self.spoken, len(self.ids)
        return str(now[len(before) :])


class StopWatch:
    """Lets text through up to the first stop string, and holds back what may become one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.stops = tuple(stop for stop in stops if stop)
        self.held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The text that can be given out now. Sets ``stopped`` once a stop string is complete."""
        text = self.held + text
        found = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            self.held, self.stopped = "", True
            return text[: min(found)]
        keep = max((overlap(text, stop) for stop in self.stops), default=0)
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        text, self.held = self.held, ""
        return text


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` begin ``stop``."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
