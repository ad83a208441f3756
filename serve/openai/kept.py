"""Responses that a later request may go on with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from serve.openai.errors import ApiError

KEPT = 1000
KEPT_BYTES = 256 * 1024


@dataclass(frozen=True)
class Kept:
    """A response that can be gone on with, by the key that asked for it; ``items`` are the conversation up to it."""

    key: str
    body: Mapping[str, Any]
    items: list[dict[str, Any]]


@dataclass
class Responses:
    """The latest responses, in memory: a server that is started anew knows none."""

    kept: OrderedDict[str, Kept] = field(default_factory=OrderedDict)

    def add(self, key: str, body: Mapping[str, Any], items: list[dict[str, Any]]) -> None:
        if len(orjson.dumps(items)) > KEPT_BYTES:
            return
        self.kept[body["id"]] = Kept(key, body, items)
        if len(self.kept) > KEPT:
            self.kept.popitem(last=False)

    def get(self, identity: str, key: str, param: str | None = None) -> Kept:
        found = self.kept.get(identity)
        if found is None or found.key != key:
            raise ApiError(404, f"There is no response '{identity}' here (any more).", param=param)
        return found
