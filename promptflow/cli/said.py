"""Where a value of a specification was said: in its file, in a flag over it, or in `--set` over all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from promptflow.cli.overrides import joined, parse_path
from promptflow.workspace.yamlfile import Marks

Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Said(Marks):
    """Marks of a file, or of none, that know the flags over it. What a flag said stands at no line."""

    flags: Mapping[Steps, str] = field(default_factory=dict)

    def at(self, *keys: str | int) -> tuple[int, int]:
        return super().at(*keys) if self.root is not None and not self.flag(*keys) else (0, 0)

    def location(self, *keys: str | int) -> str:
        return self.flag(*keys) or (super().location(*keys) if self.root is not None else "")

    def flag(self, *keys: str | int) -> str:
        """The flag that said the value at this path or around it, or, where the file has none, something in it."""
        around = (flag for steps, flag in self.flags.items() if keys[: len(steps)] == steps)
        inside = (flag for steps, flag in self.flags.items() if keys and steps[: len(keys)] == keys)
        return next(around, "") or ("" if self._in_file(keys) else next(inside, ""))

    def _in_file(self, keys: Steps) -> bool:
        return self.root is not None and Marks.at(self, *keys) != Marks.at(self, *keys[:-1])


def said(marks: Marks | None, overrides: Iterable[str], keys: Iterable[str], flat: Collection[str] = ()) -> Said:
    """``overrides`` are the paths of `--set`, ``keys`` those that a flag of their own has set."""
    flags: dict[Steps, str] = {joined(parse_path(text), flat): f"--set {text}" for text in overrides}
    for key in keys:
        flags.setdefault((key,), f"--{key.replace('_', '-')}")
    return Said(marks.name if marks else "", marks.root if marks else None, flags)
