"""A set of line numbers that takes a bit for each."""

from __future__ import annotations

_LARGEST = 1 << 28  # rows may name their own numbers: what is beyond is kept as it is


class Numbers:
    """``add``, ``in``, ``len``."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._others: set[int] = set()
        self._count = 0

    def add(self, number: int) -> None:
        if number in self:
            return
        self._count += 1
        if not 0 <= number < _LARGEST:
            self._others.add(number)
            return
        place = number >> 3
        if place >= len(self._bits):
            self._bits.extend(bytes(max(place + 1 - len(self._bits), 1024)))
        self._bits[place] |= 1 << (number & 7)

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        if not 0 <= number < _LARGEST:
            return number in self._others
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] >> (number & 7) & 1)

    def __len__(self) -> int:
        return self._count
