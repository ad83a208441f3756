"""A class as a flow: made once, called for every row, asked for the sums at the end."""

import re
from dataclasses import dataclass

PROMISES = re.compile(r"\b(guarantee|definitely|always|never|100 ?%)", re.IGNORECASE)


@dataclass
class Verdict:
    ok: bool
    words: int
    complaint: str


class ReplyCheck:
    """Checks replies to customers against the house rules."""

    def __init__(self, max_words: int = 40):
        self.max_words = max_words

    def __call__(self, reply: str) -> Verdict:
        words = len(reply.split())
        promise = PROMISES.search(reply)
        complaint = ""
        if not words:
            complaint = "empty"
        elif words > self.max_words:
            complaint = f"more than {self.max_words} words"
        elif promise:
            complaint = f"promises too much: {promise.group()}"
        return Verdict(not complaint, words, complaint)

    def __aggregate__(self, results: list[Verdict]) -> dict:
        return {
            "passed": sum(r.ok for r in results) / len(results),
            "mean_words": sum(r.words for r in results) / len(results),
        }
