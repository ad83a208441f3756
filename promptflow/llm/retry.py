"""When to ask a model's server again, and after how long. Pure decisions; `transport` acts on them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from promptflow.llm.failures import Failure


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``retries`` more tries; a body that the server cannot process (422) is tried ``unprocessable_tries`` times in
    all; the server's own ``Retry-After`` is honoured up to ``longest_wait`` seconds."""

    retries: int = 10
    unprocessable_tries: int = 3
    first_wait: float = 3.0
    most_wait: float = 60.0
    longest_wait: float = 600.0

    def wait(self, failure: Failure, attempt: int, unprocessable: int) -> float | None:
        """Seconds until the next try; None to give up.

        ``attempt`` counts from 0, ``unprocessable`` the 422s in a row.
        """
        if not failure.retriable or attempt >= self.retries:
            return None
        if failure.status == 422 and unprocessable >= self.unprocessable_tries:
            return None
        asked = retry_after_seconds(failure.retry_after)
        if asked is not None:
            return asked if asked <= self.longest_wait else None
        if failure.dropped and attempt == 0:
            return 0.0  # most often a kept-alive connection that the server had just closed
        # A quarter at random, so that requests that were refused together do not come back together.
        wait = min(self.first_wait + 2.0**attempt - 1, self.most_wait)
        return wait * random.uniform(1.0, 1.25)

    def explained(self, failure: Failure) -> Failure:
        """The failure given up, with the reason if the server asked for a longer wait than we take."""
        asked = retry_after_seconds(failure.retry_after) if failure.retriable else None
        if asked is not None and asked > self.longest_wait:
            failure.message += (
                f" The server asks to wait {asked:,.0f} s (Retry-After), longer than the {self.longest_wait:,.0f} s"
                " that are waited at most."
            )
        return failure


def retry_after_seconds(header: str) -> float | None:
    """``Retry-After`` as seconds: a number or a date; None where it says nothing."""
    text = header.strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
