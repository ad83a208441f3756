"""`Plan`: one way to run a model on a machine, with what it would take; and what all ways have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from catalog.architecture import SIZES, Architecture
from catalog.machine import Gpu
from catalog.memory import activation_bytes, scores_bytes
from catalog.weights import Weights

TYPICAL = 8192  # tokens of context that are planned for, where nobody asks and the model has more
GUESSED = 1.08  # what is added to weights that were counted by their config alone
SHARE = 0.9  # of a GPU's memory that is used
MOST_ROWS = 1024  # answers at once; no engine here does more
LONGEST = 1 << 24  # tokens; more than any context


@dataclass(frozen=True)
class Wish:
    """What somebody wants of a model: tokens of ``context`` (0: up to TYPICAL) for each of ``concurrency`` answers at
    once, ``adapters`` LoRA slots of ``rank``. ``dtype``: auto, a type, or fp8, int8 or int4."""

    context: int = 0
    concurrency: int = 1
    dtype: str = "auto"
    adapters: int = 0
    rank: int = 16


@dataclass(frozen=True)
class Plan:
    """Bytes on each device against what it has. ``fits`` None: it cannot be told, and ``why`` says why.

    ``max_context`` is for one answer at a time, ``max_concurrency`` for this ``context``; 0 where nothing fits.
    ``copy``: the plan is for a copy of the model that is stored in this type.
    """

    engine: str
    device: str
    dtype: str
    fits: bool | None
    why: str = ""
    copy: bool = False
    gpus: int = 0
    context: int = 0
    concurrency: int = 0
    weights: int = 0
    cache: int = 0
    activations: int = 0
    adapters: int = 0
    runtime: int = 0
    available: int = 0
    max_context: int = 0
    max_concurrency: int = 0
    flags: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def needed(self) -> int:
        return self.weights + self.cache + self.activations + self.adapters + self.runtime


def settle(
    shape: Architecture,
    wish: Wish,
    fill: Callable[[int, int], Plan],
    rows_at: Callable[[int], int] = lambda context: MOST_ROWS,
    bears: Callable[[Plan], bool] = lambda plan: True,
) -> Plan:
    """The plan for what was asked, with the most that would fit instead. ``rows_at`` is how many answers of a context
    an engine gives at once, ``bears`` what else must hold."""
    limit = shape.context or LONGEST
    context = wish.context or min(shape.context or TYPICAL, TYPICAL)

    def fits(plan: Plan) -> bool:
        return plan.needed <= plan.available and bears(plan)

    plan = fill(context, wish.concurrency)
    plan = replace(
        plan,
        max_context=_most(limit, lambda tokens: fits(fill(tokens, 1))),
        max_concurrency=_most(rows_at(context), lambda rows: fits(fill(context, rows))),
    )
    if context > limit:
        return replace(plan, fits=False, why=f"its context is {limit} tokens", max_concurrency=0)
    if wish.concurrency > rows_at(context):
        return replace(plan, fits=False, why=f"it answers {rows_at(context)} such requests at once")
    if fits(plan):
        return replace(plan, fits=True)
    return replace(plan, fits=False, why="weights alone are too large" if plan.weights > plan.available else "")


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to ``limit`` that fits, 0 if none does."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def encoder(base: Plan, shape: Architecture, wish: Wish) -> Plan:
    """No cache: a batch of texts in one pass, with the scores of one layer's heads."""

    def fill(context: int, rows: int) -> Plan:
        active = activation_bytes(shape, context * rows, 0, 4) + scores_bytes(context, context * shape.heads, 4)
        return replace(base, context=context, concurrency=rows, activations=active)

    return settle(shape, wish, fill)


def guessed(held: int, weights: Weights) -> int:
    """Bytes of weights, with something added where they were not counted themselves."""
    return held if weights.exact else int(GUESSED * held)


def cannot(shape: Architecture) -> str:
    """Why nothing can be told of the model by any engine, empty if it can."""
    if shape.layers is None:
        return f"the family {shape.family} is not known" + (", and brings code of its own" if shape.own_code else "")
    return ""


def gpu_dtype(shape: Architecture, wish: Wish, gpu: Gpu) -> str:
    """As asked, else as stored, float32 as bfloat16; older GPUs do not have that."""
    if wish.dtype in SIZES:
        return wish.dtype
    best = "bfloat16" if shape.dtype in ("float32", "float64") else shape.dtype
    return "float16" if best == "bfloat16" and gpu.capability < (8, 0) else best
