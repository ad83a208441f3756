"""Will a model run on this machine? `predict` decides from what is known of it; nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catalog.architecture import SIZES, read_architecture
from catalog.machine import Machine
from catalog.memory import token_bytes
from catalog.parameters import weights_by_config
from catalog.plans import Plan, Wish, plans
from catalog.weights import QUANTISED, Weights, WeightsError, count_weights
from promptflow.exceptions import ValidationException

DTYPES = ("auto", *SIZES, *QUANTISED)


@dataclass(frozen=True)
class Fit:
    """What a model takes, and the ways to run it, the best first. ``cache_per_token`` is in bytes, all layers."""

    family: str
    layers: str
    parameters: int | None
    weights: Weights
    context: int
    cache_per_token: int
    plans: tuple[Plan, ...]

    @property
    def best(self) -> Plan:
        """The first that fits as the model is, else as a copy; else the first, which says why not."""
        fitting = [plan for plan in self.plans if plan.fits]
        return min(fitting, key=lambda plan: plan.copy, default=self.plans[0])

    @property
    def fits(self) -> bool | None:
        """As it is, by any way; None where that cannot be told."""
        told = {plan.fits for plan in self.plans if not plan.copy}
        return True if True in told else False if False in told else None


def predict(
    config: Mapping[str, Any],
    headers: Mapping[str, Mapping[str, Any]] | Weights | None,
    machine: Machine,
    wish: Wish | None = None,
    *,
    onnx: int = 0,
    onnx_first: bool = False,
) -> Fit:
    """The fit of a model with this config.json.

    ``headers`` are those of its safetensors files by name, or what `read_weights` made of them; None where there are
    none. ``onnx`` is the size in bytes of an exported file, which engines take
    ``onnx_first``, or for want of weights. ConfigError and WeightsError where they are absurd.
    """
    wish = wish or Wish()
    if wish.dtype not in DTYPES:
        raise ValidationException(f"There is no dtype {wish.dtype}.", hint=f"one of {', '.join(DTYPES)}")
    if wish.context < 0 or wish.concurrency < 1 or wish.adapters < 0 or wish.rank < 1:
        raise ValidationException(f"Nobody can be given {wish}.", hint="context, concurrency, adapters and rank count")
    shape = read_architecture(config)
    size = SIZES[shape.dtype]
    weights = headers if isinstance(headers, Weights) else count_weights(headers) if headers else None
    weights = weights or weights_by_config(shape, config, size)
    if weights is None:
        raise WeightsError(
            f"What the weights of a {shape.family} take cannot be told from its config.json alone.",
            hint="it has no safetensors files that could be counted",
        )
    made = tuple(plans(shape, weights, machine, wish, onnx, onnx_first))
    if onnx and headers is None:  # there is nothing else to load
        made = tuple(plan for plan in made if plan.engine == "onnx")
    per_token = token_bytes(shape, min(size, 2))
    return Fit(shape.family, shape.kinds, weights.parameters, weights, shape.context, per_token, made)
