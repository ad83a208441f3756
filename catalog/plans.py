"""`Plan`: one way to run a model on a machine, with what it would take. The engines' habits are here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from catalog.architecture import SIZES, Architecture
from catalog.families import PAGED
from catalog.layers import Attention
from catalog.machine import Gpu, Machine
from catalog.memory import GIB, activation_bytes, adapter_bytes, cache_bytes, scores_bytes
from catalog.weights import QUANTISED, Weights

TYPICAL = 8192  # tokens of context that are planned for, where nobody asks and the model has more
GUESSED = 1.08  # what is added to weights that were counted by their config alone
SHARE = 0.9  # of a GPU's memory that is used
MOST_ROWS = 1024  # answers at once; no engine here does more
LONGEST = 1 << 24  # tokens; more than any context
TORCH_ROWS = 64  # answers at once of the torch engine; TORCH_PAGE and CACHE_SHARE are its own, too
TORCH_PAGE = 32  # tokens
CACHE_SHARE = 0.3
STACKING = 1.5  # times the weights of a model of experts
SPARE = 8 * TORCH_PAGE  # a page for each group of layers that nobody gets
SENSES = 2 * GIB  # activations of images and sounds, of which configs do not tell enough
MIN_CAPABILITY = {"bfloat16": (8, 0), "float16": (7, 5), "float32": (7, 5)}
# Kernels of vLLM for weights that are stored so: https://docs.vllm.ai/en/latest/features/quantization/
STORED_CAPABILITY = {"fp8": (8, 0), "mxfp4": (8, 0), "awq": (7, 5), "gptq": (7, 5), "compressed-tensors": (8, 0),
                     "bitsandbytes": (7, 5), "int4": (8, 0), "int8": (8, 0)}  # fmt: skip


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


def plans(shape: Architecture, weights: Weights, machine: Machine, wish: Wish, onnx: int = 0) -> Iterator[Plan]:
    """All ways, the best first. ``onnx`` is the size of an exported file, 0 if there is none."""
    if machine.gpus:
        yield from vllm_plans(shape, weights, machine, wish)
        yield transformers_gpu(shape, weights, machine, wish)
    yield transformers_cpu(shape, weights, machine, wish)
    if onnx:
        yield onnx_cpu(shape, onnx, machine, wish)


def vllm_plans(shape: Architecture, weights: Weights, machine: Machine, wish: Wish) -> Iterator[Plan]:
    """On as few GPUs as will do; as stored, and as a copy in fewer bits."""
    kinds = [""] if wish.dtype in SIZES else [wish.dtype] if wish.dtype in QUANTISED else ["", "fp8", "int4"]
    for kind in kinds:
        plan = None
        for count in (1, 2, 4, 8, 16):
            if count > len(machine.gpus) or shape.heads % count:
                break
            plan = _vllm(shape, weights, machine.gpus[:count], wish, kind)
            if plan.fits:
                break
        if plan is not None:
            yield plan


def _vllm(shape: Architecture, weights: Weights, gpus: tuple[Gpu, ...], wish: Wish, kind: str) -> Plan:
    gpu = min(gpus, key=lambda one: one.free)
    dtype = _gpu_dtype(shape, wish, gpu)
    size, count = SIZES[dtype], len(gpus)
    base = Plan("vllm", "gpu", kind or shape.stored or dtype, None, copy=bool(kind), gpus=count)
    if reason := _cannot(shape) or _too_old(kind or shape.stored.partition(" ")[0], dtype, gpu):
        return replace(base, why=reason)
    held = weights.bytes_quantised(kind, size) if kind else weights.bytes_in(size, bool(shape.stored))
    if held is None:
        return replace(base, why="it is not known how much the weights shrink")
    # At most SHARE of the memory, and of what others use now 512 MiB must stay free.
    share = min(SHARE, int(100 * max(0, gpu.free - GIB // 2) / gpu.total) / 100)
    ahead = 8192 if gpu.total >= 70 * GIB else 2048
    # Matrices are dealt out to the GPUs; embeddings, too, but norms and routers are on all: 2 % is more than they are.
    weights_here = int(_guessed(held, weights) / count * (1.02 if count > 1 else 1))
    base = replace(base, weights=weights_here, available=int(share * gpu.total),
                   runtime=int(1.5 * GIB) + (GIB if count > 1 else 0) + (SENSES if shape.senses else 0),
                   adapters=adapter_bytes(shape, wish.adapters, wish.rank, size, count))  # fmt: skip

    def fill(context: int, rows: int) -> Plan:
        return replace(
            base,
            context=context, concurrency=rows,
            cache=rows * cache_bytes(shape, context, size, ahead=ahead, parts=count),
            activations=activation_bytes(shape, max(ahead, rows), rows, size, count),
        )  # fmt: skip

    plan = _settle(shape, wish, fill)
    flags: dict[str, Any] = {
        "dtype": dtype, "max_model_len": plan.context, "max_num_seqs": plan.max_concurrency or wish.concurrency,
        "max_num_batched_tokens": ahead, "gpu_memory_utilization": share, "tensor_parallel_size": count,
    }  # fmt: skip
    if wish.adapters:
        flags |= {"enable_lora": True, "max_loras": wish.adapters, "max_lora_rank": wish.rank}
    return replace(plan, flags=flags)


def transformers_gpu(shape: Architecture, weights: Weights, machine: Machine, wish: Wish) -> Plan:
    """One GPU: its pages fill what is free, prompts are read 2048 tokens at a time, with a mask of their own."""
    gpu = max(machine.gpus, key=lambda one: one.free)
    dtype = _gpu_dtype(shape, wish, gpu)
    base = Plan("transformers", "gpu", dtype, None, gpus=1, available=int(SHARE * gpu.free))
    return _transformers(base, shape, weights, wish, ahead=2048, runtime=GIB, memory=machine.available)


def transformers_cpu(shape: Architecture, weights: Weights, machine: Machine, wish: Wish) -> Plan:
    """The weights in float32, or bfloat16 where the processor multiplies that; 0.6 GiB are torch and Python."""
    dtype = wish.dtype if wish.dtype in SIZES else "bfloat16" if machine.tiles else "float32"
    base = Plan("transformers", "cpu", dtype, None, available=int(0.95 * machine.available))
    runtime = int(0.6 * GIB) + weights.largest * 2  # a tensor as it is read, and as it is cast
    return _transformers(base, shape, weights, wish, ahead=512, runtime=runtime)


def _transformers(
    base: Plan, shape: Architecture, weights: Weights, wish: Wish, *, ahead: int, runtime: int, memory: int = 0
) -> Plan:
    size, on_cpu = SIZES[base.dtype], base.device == "cpu"
    if reason := _cannot(shape) or _cannot_here(shape, wish):
        return replace(base, why=reason)
    held = _guessed(weights.bytes_in(size, bool(shape.stored)), weights)
    # transformers 5 stacks experts into one matrix while it loads; measured: 2.4 times the weights at the peak.
    stacking = int(STACKING * held) if shape.experts else 0
    runtime += stacking if on_cpu else 0
    if not on_cpu and held + stacking + GIB > memory:
        return replace(base, weights=held, fits=False, why="its weights pass through main memory, which is too small")
    base = replace(base, weights=held, runtime=runtime, adapters=adapter_bytes(shape, wish.adapters, wish.rank, size))
    if shape.layers == ():
        return _encoder(base, shape, wish)

    def fill(context: int, rows: int) -> Plan:
        tokens = _cpu_tokens(context) + SPARE if on_cpu else rows * (context + 2 * TORCH_PAGE) + SPARE
        cache = cache_bytes(shape, tokens, size, ahead=ahead)
        active = activation_bytes(shape, ahead, rows, size) + scores_bytes(ahead, tokens, size)
        return replace(base, context=context, concurrency=rows, cache=cache, activations=active)

    def bears(plan: Plan) -> bool:
        """The cache and its mask take CACHE_SHARE of what the weights leave free on a CPU, and no more."""
        taken = plan.cache + scores_bytes(ahead, _cpu_tokens(plan.context), size)
        return not on_cpu or taken <= CACHE_SHARE * (plan.available - plan.weights)

    def rows_at(context: int) -> int:
        return min(TORCH_ROWS, _cpu_tokens(context) // context) if on_cpu else TORCH_ROWS

    plan = _settle(shape, wish, fill, rows_at, bears)
    return replace(plan, flags={"dtype": base.dtype, "device": "cpu" if on_cpu else "cuda", "context": plan.context})


def _cpu_tokens(context: int) -> int:
    """Tokens of cache that the engine sets aside on a CPU, for all answers together."""
    return max(context + TORCH_PAGE, 16384 if context > 1024 else 16 * context)


def _cannot_here(shape: Architecture, wish: Wish) -> str:
    """Why nothing is promised of the torch engine, empty if it is."""
    stored = shape.stored or (wish.dtype if wish.dtype in QUANTISED else "")
    if stored:
        return f"weights in {stored} need vLLM"
    if shape.layers and (shape.senses or any(not isinstance(layer, Attention) for layer in shape.layers)):
        return "it answers one at a time there; how much that takes is not known"
    if any(getattr(layer, "window", 0) for layer in shape.layers or ()):
        return "windows were seen to take more there than can be predicted"
    if shape.layers and shape.family not in PAGED:
        return f"the family {shape.family} was not tried there"
    return ""


def onnx_cpu(shape: Architecture, file: int, machine: Machine, wish: Wish) -> Plan:
    """ONNX Runtime packs weights once more for its kernels, gives scores of every token of a prompt in float32, and
    makes the cache anew with every token."""
    base = Plan("onnx", "cpu", "as exported", None, weights=2 * file, runtime=GIB // 4,
                available=int(0.95 * machine.available))  # fmt: skip
    if shape.layers is None:
        return replace(base, why=_cannot(shape))
    if shape.layers == ():
        return _encoder(base, shape, wish)

    def fill(context: int, rows: int) -> Plan:
        cache = 2 * rows * cache_bytes(shape, context, 4, ahead=context, folded=False)
        active = activation_bytes(shape, context, context, 4) + scores_bytes(context, context * shape.heads, 4)
        return replace(base, context=context, concurrency=rows, cache=cache, activations=active)

    return _settle(shape, wish, fill)


def _encoder(base: Plan, shape: Architecture, wish: Wish) -> Plan:
    """No cache: a batch of texts in one pass, with the scores of one layer's heads."""

    def fill(context: int, rows: int) -> Plan:
        active = activation_bytes(shape, context * rows, 0, 4) + scores_bytes(context, context * shape.heads, 4)
        return replace(base, context=context, concurrency=rows, activations=active)

    return _settle(shape, wish, fill)


def _settle(
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


def _guessed(held: int, weights: Weights) -> int:
    return held if weights.exact else int(GUESSED * held)


def _cannot(shape: Architecture) -> str:
    if shape.layers is None:
        return f"the family {shape.family} is not known" + (", and brings code of its own" if shape.own_code else "")
    return ""


def _too_old(stored: str, dtype: str, gpu: Gpu) -> str:
    if stored and stored not in STORED_CAPABILITY:
        return f"weights in {stored} are not known"
    needed = max(MIN_CAPABILITY[dtype], STORED_CAPABILITY.get(stored, (0, 0)))
    return f"needs a GPU of compute capability {needed[0]}.{needed[1]}" if gpu.capability < needed else ""


def _gpu_dtype(shape: Architecture, wish: Wish, gpu: Gpu) -> str:
    """As asked, else as stored, float32 as bfloat16; older GPUs do not have that."""
    if wish.dtype in SIZES:
        return wish.dtype
    best = "bfloat16" if shape.dtype in ("float32", "float64") else shape.dtype
    return "float16" if best == "bfloat16" and gpu.capability < (8, 0) else best
