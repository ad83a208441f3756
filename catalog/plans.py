"""All ways to run a model on a machine. What each engine takes is in `catalog.plans_ENGINE`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from catalog.architecture import Architecture
from catalog.machine import Machine
from catalog.plan import TYPICAL, Plan, Wish
from catalog.plans_onnx import onnx_cpu
from catalog.plans_torch import transformers_cpu, transformers_gpu
from catalog.plans_vllm import vllm_plans
from catalog.weights import Weights

__all__ = ["TYPICAL", "Plan", "Wish", "plans"]


def plans(
    shape: Architecture, weights: Weights, machine: Machine, wish: Wish, onnx: int = 0, onnx_first: bool = False
) -> Iterator[Plan]:
    """All ways, the best first. ``onnx`` is the size of an exported file, 0 if there is none."""
    if onnx_first:
        yield onnx_cpu(shape, onnx, machine, wish)
    for plan in _by_weights(shape, weights, machine, wish):
        if weights.unread and not (plan.copy and weights.stored):
            plan = replace(plan, fits=False, why=weights.unread, max_context=0, max_concurrency=0)
        yield plan
    if onnx and not onnx_first:
        yield onnx_cpu(shape, onnx, machine, wish)


def _by_weights(shape: Architecture, weights: Weights, machine: Machine, wish: Wish) -> Iterator[Plan]:
    if machine.gpus:
        yield from vllm_plans(shape, weights, machine, wish)
        yield transformers_gpu(shape, weights, machine, wish)
    yield transformers_cpu(shape, weights, machine, wish)
