"""Which nodes of a flow are cached: each of their steps gets a `StepCache`, which is asked when the node runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptflow.contracts.tool import ToolType
from promptflow.exceptions import ValidationException
from promptflow.executor.cachekey import NotCacheable, may_repeat
from promptflow.executor.steps import Step
from promptflow.tape.current import current
from promptflow.workspace import Workspace
from promptflow.workspace.sizes import parse_size

OFF, READ, REFRESH = "off", "read", "refresh"
SETTING = "cache.max_size"
DEFAULT_MAX_SIZE = 10**9


@contextmanager
def caching(executor: Any, mode: str, workspace: Workspace) -> Iterator[None]:
    """Inside, nodes of the executor's flow take results from the workspace's cache and keep theirs in it.

    ``mode``: auto does both, read only the first, refresh only the second, off neither. A tape needs every call:
    where there is one, nothing is taken from the cache.
    """
    is_off = mode == OFF or (mode != REFRESH and current() is not None)
    chosen = [] if is_off else list(_chosen(executor))
    if not chosen:
        yield
        return
    from promptflow.executor.cached import StepCache  # with SQLite, as below: only where something is cached
    from promptflow.storage.cache import Cache

    cache = Cache(cache_file(workspace), max_size(workspace))
    try:
        for owner, step in chosen:
            try:
                step.cache = StepCache.of(cache, owner, step, reads=mode != REFRESH, writes=mode != READ)
            except NotCacheable:
                continue
        yield
    finally:
        for _, step in chosen:
            step.cache = None
        cache.close()


def cache_file(workspace: Workspace) -> Path:
    return workspace.home / "cache" / "nodes.db"


def max_size(workspace: Workspace) -> int:
    """Bytes that the cache may take. Raises ValidationException where the setting is no size."""
    setting = workspace.settings.find(SETTING)
    if setting is None:
        return DEFAULT_MAX_SIZE
    size = parse_size(setting.value)
    if size is None:
        raise ValidationException(
            f"{SETTING} is {setting.value!r}, which is no size.", location=setting.origin, hint="write 500MB or 2GB"
        )
    return size


def is_cacheable(step: Step) -> bool:
    """Whether results of this node are kept, for some of its inputs at least.

    Those of an LLM node are where its model samples the same each time, those of a Python node where its tool says it
    is pure. ``enable_cache`` decides otherwise; but a tool that says it is not pure is never cached.
    """
    node = step.node
    if node.enable_cache is False or step.pure is False or node.type is ToolType.PROMPT:
        return False
    asked = bool(node.enable_cache or step.pure)
    if node.type in (ToolType.LLM, ToolType.CUSTOM_LLM):
        return asked or may_repeat(node)
    return asked and not node.aggregation  # what it logs as metrics would be lost


def _chosen(executor: Any) -> Iterator[tuple[Any, Step]]:
    """The steps to cache with the executors that they belong to, those of flows that are nodes too."""
    for step in (*getattr(executor, "steps", ()), *getattr(executor, "aggregation_steps", ())):
        if step.flow is not None:
            yield from _chosen(step.flow)
        elif is_cacheable(step):
            yield executor, step
