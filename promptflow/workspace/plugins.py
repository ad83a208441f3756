"""Named implementations: ours by decorator, strangers' by entry point."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from promptflow.exceptions import ValidationException

T = TypeVar("T")


class Registry(Generic[T]):
    """``name -> T``. ``kind`` names the things in errors; ``group`` is the entry-point group that adds others.

    Register factories whose body does the heavy import, so that only what is chosen is paid for. Entry points are
    looked up on the first miss, and imported when they are asked for. Ours win over a stranger's of the same name.
    """

    def __init__(self, kind: str, group: str = "") -> None:
        self.kind = kind
        self.group = group
        self._items: dict[str, T] = {}
        self._found: dict[str, EntryPoint] | None = None
        self._lock = threading.Lock()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: keep the decorated thing under ``name``."""

        def keep(item: T) -> T:
            if self._items.get(name, item) is not item:
                raise ValidationException(f"The {self.kind} '{name}' is registered twice.")
            self._items[name] = item
            return item

        return keep

    def get(self, name: str) -> T:
        """The thing of this name; a ValidationException names the nearest ones."""
        if name in self._items:
            return self._items[name]
        point = self._entry_points().get(name)
        if point is None:
            raise ValidationException(f"There is no {self.kind} '{name}'.", hint=self._nearest(name))
        try:
            item: T = point.load()
        except Exception as error:
            source = point.dist.name if point.dist else point.value
            raise ValidationException(
                f"The {self.kind} '{name}' of '{source}' cannot be loaded: {type(error).__name__}: {error}",
                hint=f"repair or uninstall '{source}'",
            ) from error
        return self._items.setdefault(name, item)

    def names(self) -> list[str]:
        """All names, sorted; nothing is imported."""
        return sorted({*self._items, *self._entry_points()})

    def __contains__(self, name: str) -> bool:
        return name in self._items or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _entry_points(self) -> dict[str, EntryPoint]:
        with self._lock:
            if self._found is None:
                self._found = {point.name: point for point in entry_points(group=self.group)} if self.group else {}
            return self._found

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.names(), n=1)
        return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(self.names()) or 'none'}"
