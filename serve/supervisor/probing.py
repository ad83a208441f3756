"""Of one probe of an instance: how often in a row it went well or not, what that says, and when it is due again."""

from __future__ import annotations

from serve.endpoints.spec import Probe


class Count:
    """Begins where all is well. Times are those of ``time.monotonic``; the probe of what was ``started`` then is due
    after its period, and not before its first delay."""

    def __init__(self, path: bytes, probe: Probe, started: float, now: float) -> None:
        self.path, self.probe = path, probe
        self.due = max(now + probe.period, started + probe.initial_delay)
        self._well = True
        self._row = 0

    def told(self, well: bool, now: float) -> bool | None:
        """Whether it is well, now that it was asked once more; None while too few in a row say otherwise."""
        self.due = now + self.probe.period
        if well == self._well:
            self._row = 0
            return well
        self._row += 1
        if self._row < (self.probe.success if well else self.probe.failure):
            return None
        self._well, self._row = well, 0
        return well

    def hurry(self, seconds: float, now: float) -> None:
        """Ask again so soon, at the latest."""
        self.due = min(self.due, now + seconds)
