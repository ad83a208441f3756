"""The mini-batches of a job, handed to worker processes; one that fails, hangs or takes its process along is tried
again, and then counts as failed."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from promptflow.exceptions import UserErrorException
from serve.batch.journal import Entry
from serve.batch.member import Answer, Launch, Member
from serve.batch.plan import Plan
from serve.batch.records import Settings

TICK = 0.2  # seconds between two looks at whether the job is to stop
_logger = logging.getLogger("serve.batch.job")
Note = Callable[[Entry, bytes], None]


class JobFailedError(UserErrorException):
    """The job cannot go on."""


class Stopped(Exception):
    """Somebody asked the job to stop."""


@dataclass(frozen=True)
class Watch:
    """``stop`` says whether the job is to end; ``tick`` is called now and then."""

    stop: Callable[[], bool]
    tick: Callable[[], None]


class Crew:
    """``note`` is called for each mini-batch that has ended, well or not; what it raises ends the work."""

    def __init__(self, launch: Launch, logs: Path, plan: Plan, settings: Settings, init_seconds: float) -> None:
        self._launch, self._logs, self._plan, self._settings = launch, logs, plan, settings
        self._init_seconds = init_seconds
        self._members: list[Member | None] = [None] * settings.workers
        self._tries: Counter[int] = Counter()

    def work(self, indexes: Iterable[int], note: Note, watch: Watch) -> None:
        """Do these mini-batches. JobFailedError if no worker can be made ready, Stopped if ``watch`` says so."""
        left = deque(indexes)
        self._members = self._members[: max(1, min(len(self._members), len(left)))]
        try:
            while left or any(member and member.index is not None for member in self._members):
                self._hand_out(left)
                for at in self._told():
                    self._take(at, left, note)
                watch.tick()
                if watch.stop():
                    raise Stopped
            self._close()
        finally:
            for member in self._members:
                if member is not None:
                    member.kill()

    def _hand_out(self, left: deque[int]) -> None:
        idle = 0
        for at, member in enumerate(self._members):
            if member is None and len(left) > idle:
                self._members[at] = Member(self._launch, self._logs / f"worker-{at}.log", self._init_seconds)
                idle += 1
            elif member is not None and member.ready and member.index is None and left:
                index = left.popleft()
                self._tries[index] += 1
                member.give(index, self._plan.batches[index], self._settings.timeout)
            elif member is not None and not member.ready:
                idle += 1

    def _told(self) -> Sequence[int]:
        """The members that have something to say, or have died, or should have long ago."""
        there = {member.connection: at for at, member in enumerate(self._members) if member is not None}
        busy = [one.deadline for one in self._members if one and (one.index is not None or not one.ready)]
        pause = min([TICK, *(deadline - time.monotonic() for deadline in busy)])
        found = [there[connection] for connection in wait(list(there), max(0.0, pause))]  # type: ignore[index]
        now = time.monotonic()
        late = [at for at, one in enumerate(self._members) if one and one.deadline <= now and at not in found]
        return [*found, *(at for at in late if self._is_waited_for(at))]

    def _is_waited_for(self, at: int) -> bool:
        member = self._members[at]
        return member is not None and (member.index is not None or not member.ready)

    def _take(self, at: int, left: deque[int], note: Note) -> None:
        member = self._members[at]
        assert member is not None
        late = member.deadline <= time.monotonic() and not member.connection.poll()
        answer = None if late else member.answer()
        if answer is None:
            told = "" if late else member.ended_with()
            self._lose(at, member)
            if not member.ready:
                what = f"{told} before it was ready" if told else f"was not ready within {self._init_seconds:g} s"
                raise JobFailedError(
                    f"A worker {what}, by the end of init().", hint=f"see {self._logs}/worker-{at}.log"
                )
            if member.index is not None:
                error = f"its worker {told}" if told else f"took longer than {self._settings.timeout:g} s"
                self._failed(member.index, error, True, left, note)
            return
        if "failed" in answer.told:
            raise JobFailedError(str(answer.told["failed"]), hint=str(answer.told["hint"]))
        if answer.told.get("ready"):
            member.ready = True
            return
        assert member.index is not None
        index, member.index = member.index, None
        self._ended(index, answer, left, note)

    def _lose(self, at: int, member: Member) -> None:
        member.kill()
        self._members[at] = None

    def _ended(self, index: int, answer: Answer, left: deque[int], note: Note) -> None:
        told, size = answer.told, self._plan.sizes[index]
        if "error" in told:
            self._failed(index, str(told["error"]), bool(told["again"]), left, note)
            return
        failed = max(0, size - int(told["done"]))
        if failed:
            _logger.warning("mini-batch %d: run() gave %d rows for %d items", index, told["rows"], size)
        note(Entry(index, int(told["rows"]), failed, attempts=self._tries[index]), answer.text)

    def _failed(self, index: int, error: str, again: bool, left: deque[int], note: Note) -> None:
        tries, most = self._tries[index], 1 + self._settings.max_retries
        _logger.warning("mini-batch %d, try %d of %d: %s", index, tries, most, error)
        if again and tries < most:
            left.appendleft(index)
            return
        note(Entry(index, 0, self._plan.sizes[index], error, tries), b"")

    def _close(self) -> None:
        """Let them all shut down, which happens at once, and listen to what they say of it."""
        members, self._members = self._members, []
        there = [member for member in members if member is not None]
        for member in there:
            member.ask_to_end()
        for at, member in enumerate(there):
            answer = member.finish()
            if answer is None and member.ready:
                _logger.warning("shutdown() of worker %d did not come to its end", at)
            elif answer is not None and "failed" in answer.told:
                _logger.warning("%s", answer.told["failed"])
