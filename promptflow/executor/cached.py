"""One node and the cache: its result is looked up before it runs, and kept after."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from promptflow.contracts.multimedia import Image
from promptflow.contracts.run import RunInfo
from promptflow.contracts.tool import ToolType
from promptflow.executor.cachekey import NotCacheable, can_repeat, request_key, request_part, tool_key, tool_part
from promptflow.executor.flights import Flight, Flights
from promptflow.executor.line import Line
from promptflow.executor.node import item_arguments, loop_items
from promptflow.executor.steps import Step
from promptflow.executor.stream import AsyncStream, Stream
from promptflow.storage.cache import Cache
from promptflow.storage.exact import is_exact

# What a kept result is, beside its JSON: it holds images; it was a stream, of which the JSON is the whole text.
_IMAGES, _STREAM, _ASYNC_STREAM = 2, 4, 8
_IMAGE_KEY = "data:image/"  # an object with such a key alone is no exact value, so it is always ours
_logger = logging.getLogger(__name__)

Call = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StepCache:
    """The cache as one step uses it. ``key`` is given the arguments of the node's calls and raises NotCacheable."""

    cache: Cache
    step: Step
    key: Callable[[list[Call]], bytes]
    reads: bool
    writes: bool
    flights: Flights

    @classmethod
    def of(cls, cache: Cache, owner: Any, step: Step, *, reads: bool, writes: bool) -> StepCache:
        """``owner``: the executor that the step belongs to."""
        key = _llm_key(step) if step.request is not None else _tool_key(owner, step)
        return cls(cache, step, key, reads, writes, Flights())

    def look_up(self, line: Line, arguments: Call) -> Lookup | None:
        """What is known of the node with these arguments; None where its result cannot be cached. Never raises."""
        try:
            key = self.key(_calls(self.step, line, arguments))
        except NotCacheable:
            return None
        except Exception as error:  # the node itself will say so
            _logger.debug("No key for node %s: %r", self.step.name, error)
            return None
        lookup = Lookup(self.cache if self.writes else None, key)
        if self.reads:
            lookup.find(self.cache)
            if self.writes and not lookup.is_hit and self.flights.is_of_use:
                lookup.flights, lookup.flight = self.flights, self.flights.board(key)
                if not lookup.must_wait:
                    lookup.find(self.cache)  # somebody may have landed just now
        return lookup


class Lookup:
    """The answer for one run of a node. With ``is_hit``, ``output`` is the result.

    Where it ``must_wait``, `wait` comes first. `note` or `land` must follow.
    """

    __slots__ = ("_cache", "_key", "flight", "flights", "is_hit", "node_run_id", "output", "run_id")

    def __init__(self, cache: Cache | None, key: bytes) -> None:
        """``cache``: where to keep the result, if anywhere."""
        self._cache = cache
        self._key = key
        self.flights: Flights | None = None
        self.flight: Flight | None = None
        self.is_hit = False
        self.output: Any = None
        self.run_id = self.node_run_id = ""  # of the run that made the result

    @property
    def must_wait(self) -> bool:
        """Whether somebody makes the same call already."""
        return self.flight is not None and not self.flight.is_ahead

    def wait(self) -> None:
        """Until that call has ended; its result may be found now."""
        assert self.flight is not None
        self.flight.wait()
        self._find_kept()

    async def wait_async(self) -> None:
        """As `wait`, on the running event loop."""
        assert self.flight is not None
        await self.flight.wait_async()
        self._find_kept()

    def _find_kept(self) -> None:
        if self._cache is not None:
            self.find(self._cache)

    def land(self) -> None:
        """The node has ended, well or not: who waits for its result waits no more."""
        if self.flight is not None:
            self.flight.land()

    def find(self, cache: Cache) -> None:
        found = cache.get(self._key)
        if found is None:
            return
        try:
            self.output = _decoded(found.value, found.form)
        except (ValueError, TypeError, KeyError):  # made by another version
            return
        self.is_hit = True
        self.land()
        self.run_id = found.run
        self.node_run_id = f"{found.run}_{found.node}_{found.line}"

    def note(self, info: RunInfo, output: Any) -> None:
        """Say in the node's record where its result is from; or keep the result, a stream's once it was read."""
        if self.is_hit:
            info.cached_run_id, info.cached_flow_run_id = self.node_run_id, self.run_id
        elif isinstance(output, Stream | AsyncStream):
            form = _STREAM if isinstance(output, Stream) else _ASYNC_STREAM
            output.when_read = lambda items: self._keep("".join(map(str, items)), form, info)
        else:
            self._keep(output, 0, info)
        self.land()

    def _keep(self, output: Any, form: int, info: RunInfo) -> None:
        if self._cache is None:
            return
        if not is_exact(output):
            self._is_in_vain()
            return
        images: list[Image] = []

        def image(value: Any) -> Any:
            images.append(value)
            return {f"{_IMAGE_KEY}{value._mime_type}": [base64.b64encode(value).decode("ascii"), value.source_url]}

        try:
            value = orjson.dumps(output, image, orjson.OPT_PASSTHROUGH_SUBCLASS)
        except TypeError:  # half a surrogate pair
            self._is_in_vain()
            return
        line = info.index if info.index is not None else 0
        self._cache.put(self._key, value, form | (_IMAGES if images else 0), info.flow_run_id, info.node, line)

    def _is_in_vain(self) -> None:
        if self.flights is not None:
            self.flights.is_of_use = False


def _llm_key(step: Step) -> Callable[[list[Call]], bytes]:
    part, request, asked = request_part(step), step.request, step.node.enable_cache
    assert request is not None

    def key(calls: list[Call]) -> bytes:
        requests = [request(**call) for call in calls]
        if not asked and not all(can_repeat(body) for _, body in requests):
            raise NotCacheable("the model is sampled")
        return request_key(part, requests)

    return key


def _tool_key(owner: Any, step: Step) -> Callable[[list[Call]], bytes]:
    part = tool_part(owner.flow, step, owner.environment)
    asked = step.node.enable_cache or step.pure or step.node.type is ToolType.PYTHON

    def key(calls: list[Call]) -> bytes:
        if not asked and not all(can_repeat(call) for call in calls):
            raise NotCacheable("the model is sampled")
        return tool_key(part, calls)

    return key


def _calls(step: Step, line: Line, arguments: Call) -> list[Call]:
    """The arguments of each call that the node makes: one, or one for each item of its loop."""
    loop = step.node.foreach
    if loop is None:
        return [arguments]
    return [{**arguments, **item_arguments(step, loop, item)} for item in loop_items(step, line, loop)]


def _decoded(value: bytes, form: int) -> Any:
    output = orjson.loads(value)
    if form & _IMAGES:
        output = _with_images(output)
    if form & _STREAM:
        return Stream(iter([output]))
    return AsyncStream(_one(output)) if form & _ASYNC_STREAM else output


def _with_images(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_images(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (name := next(iter(value))).startswith(_IMAGE_KEY):
        data, url = value[name]
        return Image(base64.b64decode(data), name.removeprefix(_IMAGE_KEY), url)
    return {key: _with_images(item) for key, item in value.items()}


async def _one(item: Any) -> AsyncIterator[Any]:
    yield item
