"""The torch engine: plans on one GPU, or on the processor."""

from __future__ import annotations

from dataclasses import replace

from catalog.architecture import SIZES, Architecture
from catalog.families import PAGED
from catalog.layers import Attention
from catalog.machine import Machine
from catalog.memory import GIB, activation_bytes, adapter_bytes, cache_bytes, scores_bytes
from catalog.plan import SHARE, Plan, Wish, cannot, encoder, gpu_dtype, guessed, settle
from catalog.weights import QUANTISED, Weights

TORCH_ROWS = 64  # answers at once of the torch engine; TORCH_PAGE and CACHE_SHARE are its own, too
TORCH_PAGE = 32  # tokens
CACHE_SHARE = 0.3
STACKING = 1.5  # times the weights of a model of experts
SPARE = 8 * TORCH_PAGE  # a page for each group of layers that nobody gets


def transformers_gpu(shape: Architecture, weights: Weights, machine: Machine, wish: Wish) -> Plan:
    """One GPU: its pages fill what is free, prompts are read 2048 tokens at a time, with a mask of their own."""
    gpu = max(machine.gpus, key=lambda one: one.free)
    dtype = gpu_dtype(shape, wish, gpu)
    base = Plan("transformers", "gpu", dtype, None, gpus=1, available=int(SHARE * gpu.free))
    return _transformers(base, shape, weights, wish, ahead=2048, runtime=GIB, memory=machine.available)


def transformers_cpu(shape: Architecture, weights: Weights, machine: Machine, wish: Wish) -> Plan:
    """The weights in float32, or bfloat16 where the processor multiplies that; 0.75 GiB are torch and Python, with what
    their threads take on a busy machine."""
    dtype = wish.dtype if wish.dtype in SIZES else "bfloat16" if machine.tiles else "float32"
    base = Plan("transformers", "cpu", dtype, None, available=int(0.95 * machine.available))
    runtime = int(0.75 * GIB) + weights.largest * 2  # a tensor as it is read, and as it is cast
    return _transformers(base, shape, weights, wish, ahead=512, runtime=runtime)


def _transformers(
    base: Plan, shape: Architecture, weights: Weights, wish: Wish, *, ahead: int, runtime: int, memory: int = 0
) -> Plan:
    size, on_cpu = SIZES[base.dtype], base.device == "cpu"
    if reason := cannot(shape) or _cannot_here(shape, wish):
        return replace(base, why=reason)
    held = guessed(weights.bytes_in(size, bool(shape.stored)), weights)
    # transformers 5 stacks experts into one matrix while it loads; measured: 2.4 times the weights at the peak.
    stacking = int(STACKING * held) if shape.experts else 0
    runtime += stacking if on_cpu else 0
    if not on_cpu and held + stacking + GIB > memory:
        return replace(base, weights=held, fits=False, why="its weights pass through main memory, which is too small")
    base = replace(base, weights=held, runtime=runtime, adapters=adapter_bytes(shape, wish.adapters, wish.rank, size))
    if shape.layers == ():
        return encoder(base, shape, wish)

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

    plan = settle(shape, wish, fill, rows_at, bears)
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
