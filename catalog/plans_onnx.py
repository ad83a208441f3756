"""ONNX Runtime: plans on the processor."""

from __future__ import annotations

from dataclasses import replace

from catalog.architecture import Architecture
from catalog.machine import Machine
from catalog.memory import GIB, activation_bytes, cache_bytes, scores_bytes
from catalog.plan import Plan, Wish, cannot, encoder, settle


def onnx_cpu(shape: Architecture, file: int, machine: Machine, wish: Wish) -> Plan:
    """ONNX Runtime packs weights once more for its kernels, gives scores of every token of a prompt in float32, and
    makes the cache anew with every token."""
    base = Plan("onnx", "cpu", "as exported", None, weights=2 * file, runtime=GIB // 4,
                available=int(0.95 * machine.available))  # fmt: skip
    if shape.layers is None:
        return replace(base, why=cannot(shape))
    if shape.layers == ():
        return encoder(base, shape, wish)

    def fill(context: int, rows: int) -> Plan:
        cache = 2 * rows * cache_bytes(shape, context, 4, ahead=context, folded=False)
        active = activation_bytes(shape, context, context, 4) + scores_bytes(context, context * shape.heads, 4)
        return replace(base, context=context, concurrency=rows, cache=cache, activations=active)

    return settle(shape, wish, fill)
