"""vLLM: plans on GPUs, and the flags that keep it to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from catalog.architecture import SIZES, Architecture
from catalog.machine import Gpu, Machine
from catalog.memory import GIB, activation_bytes, adapter_bytes, cache_bytes
from catalog.plan import SHARE, Plan, Wish, cannot, gpu_dtype, guessed, settle
from catalog.weights import QUANTISED, Weights

SENSES = 2 * GIB  # activations of images and sounds, of which configs do not tell enough
MIN_CAPABILITY = {"bfloat16": (8, 0), "float16": (7, 5), "float32": (7, 5)}
# Kernels of vLLM for weights that are stored so: https://docs.vllm.ai/en/latest/features/quantization/
STORED_CAPABILITY = {"fp8": (8, 0), "mxfp4": (8, 0), "awq": (7, 5), "gptq": (7, 5), "compressed-tensors": (8, 0),
                     "bitsandbytes": (7, 5), "int4": (8, 0), "int8": (8, 0)}  # fmt: skip


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
    dtype = gpu_dtype(shape, wish, gpu)
    size, count = SIZES[dtype], len(gpus)
    base = Plan("vllm", "gpu", kind or shape.stored or dtype, None, copy=bool(kind), gpus=count)
    if reason := cannot(shape) or _too_old(kind or shape.stored.partition(" ")[0], dtype, gpu):
        return replace(base, why=reason)
    held = weights.bytes_quantised(kind, size) if kind else weights.bytes_in(size, bool(shape.stored))
    if held is None:
        return replace(base, why="it is not known how much the weights shrink")
    # At most SHARE of the memory, and of what others use now 512 MiB must stay free.
    share = min(SHARE, int(100 * max(0, gpu.free - GIB // 2) / gpu.total) / 100)
    ahead = 8192 if gpu.total >= 70 * GIB else 2048
    # Matrices are dealt out to the GPUs; embeddings, too, but norms and routers are on all: 2 % is more than they are.
    weights_here = int(guessed(held, weights) / count * (1.02 if count > 1 else 1))
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

    plan = settle(shape, wish, fill)
    flags: dict[str, Any] = {
        "dtype": dtype, "max_model_len": plan.context, "max_num_seqs": plan.max_concurrency or wish.concurrency,
        "max_num_batched_tokens": ahead, "gpu_memory_utilization": share, "tensor_parallel_size": count,
    }  # fmt: skip
    if wish.adapters:
        flags |= {"enable_lora": True, "max_loras": wish.adapters, "max_lora_rank": wish.rank}
    return replace(plan, flags=flags)


def _too_old(stored: str, dtype: str, gpu: Gpu) -> str:
    if stored and stored not in STORED_CAPABILITY:
        return f"weights in {stored} are not known"
    needed = max(MIN_CAPABILITY[dtype], STORED_CAPABILITY.get(stored, (0, 0)))
    return f"needs a GPU of compute capability {needed[0]}.{needed[1]}" if gpu.capability < needed else ""
