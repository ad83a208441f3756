"""Which deployment answers a request: shares that hold at every prefix, not only on average."""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import blake2b


class Split:
    """Deals requests out to deployments by their shares.

    After any number of requests, each deployment has had its share to within one request.
    """

    def __init__(self, shares: Mapping[str, int]) -> None:
        self.shares = {name: share for name, share in sorted(shares.items()) if share > 0}
        self._cycle = cycle(self.shares)
        self._at = 0

    def __bool__(self) -> bool:
        return bool(self._cycle)

    def pick(self) -> str:
        """The deployment of the next request."""
        name = self._cycle[self._at]
        self._at = (self._at + 1) % len(self._cycle)
        return name

    def stick(self, who: bytes) -> str:
        """The deployment that ``who`` always gets. When shares change, only those move who have to."""
        return max(self.shares, key=lambda name: _weight(who, name, self.shares[name]))


def cycle(shares: Mapping[str, int]) -> tuple[str, ...]:
    """One round of turns, after which all begins anew.

    A deployment's next turn comes due between the slots where its share passes one whole number and the next; the one
    whose time is up first goes first. For tasks of one slot each that is optimal, so that no turn is ever late.
    """
    if not shares:
        return ()
    divisor = math.gcd(*shares.values())
    weights = {name: share // divisor for name, share in shares.items()}
    total = sum(weights.values())
    had = dict.fromkeys(weights, 0)
    turns = []
    for slot in range(1, total + 1):
        open_now = [name for name, weight in weights.items() if had[name] * total < weight * slot]
        first = min(open_now, key=lambda name: (-(-(had[name] + 1) * total // weights[name]), name))
        had[first] += 1
        turns.append(first)
    return tuple(turns)


class Mirror:
    """Which deployments get a copy of a request: each its percentage of them, evenly spread."""

    def __init__(self, shares: Mapping[str, int]) -> None:
        self.shares = {name: share for name, share in shares.items() if share > 0}
        self._had = dict.fromkeys(self.shares, 0)

    def pick(self) -> list[str]:
        """The deployments that get a copy of the next request."""
        chosen = []
        for name, share in self.shares.items():
            had = self._had[name] + share
            if had >= 100:
                chosen.append(name)
            self._had[name] = had % 100
        return chosen


def _weight(who: bytes, name: str, share: int) -> float:
    """Weighted rendezvous hashing: the greatest of these numbers falls to each name as often as its share says."""
    digest = blake2b(who, digest_size=8, key=name.encode()[:64]).digest()
    unit = (int.from_bytes(digest) + 1) / (2**64 + 1)
    return -share / math.log(unit)
