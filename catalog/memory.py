"""What a model needs besides its weights: cache, activations, adapters, and the engine itself. All in bytes.

Every figure is an upper bound or errs to the large side: what is said to fit must fit.
"""

from __future__ import annotations

from catalog.architecture import Architecture
from catalog.layers import Attention, Latent, Layer, State

STATE_SIZE = 4  # bytes of a number of a recurrent state
GIB = 1 << 30


def cache_bytes(shape: Architecture, tokens: int, size: int, *, ahead: int, parts: int = 1, folded: bool = True) -> int:
    """The cache of one sequence of ``tokens`` on one of ``parts`` GPUs, in numbers of ``size`` bytes.

    ``ahead``: tokens of a prompt that are read at once. Key heads are dealt out to the GPUs, but there is one at least
    on each; a latent vector is on all of them. ``folded``: latent vectors are kept as they are (vLLM), not unfolded
    to keys and values (transformers).
    """
    layers = [layer.unfolded if isinstance(layer, Latent) and not folded else layer for layer in shape.layers or ()]
    full = sum(1 for layer in layers if not (isinstance(layer, Attention) and layer.window))
    return sum(
        count * _layer_bytes(layer, tokens, size, ahead, parts) for layer, count in _grouped(layers, full).items()
    )


def _grouped(layers: list[Layer], full: int) -> dict[Layer, int]:
    """Equal layers and their number. vLLM deals pages to groups of as many layers as there are full ones; a last group
    of windows that is not whole takes as much as the others (its "hybrid KV cache manager")."""
    counted: dict[Layer, int] = {}
    for layer in layers:
        counted[layer] = counted.get(layer, 0) + 1
    for layer, count in counted.items():
        if isinstance(layer, Attention) and layer.window and 0 < full < count:
            counted[layer] = -(-count // full) * full
    return counted


def _layer_bytes(layer: Layer, tokens: int, size: int, ahead: int, parts: int) -> int:
    match layer:
        case State(conv=conv, state=state):
            # Twice: vLLM makes the pages of attention as large as a state, and the last one is not full.
            return 2 * (conv * size + state * STATE_SIZE) // parts
        case Attention(heads=heads):
            return layer.numbers(tokens, ahead) * size * max(1, -(-heads // parts)) // heads
        case _:
            return layer.numbers(tokens, ahead) * size


def token_bytes(shape: Architecture, size: int) -> int:
    """What one more token of one sequence takes while no window is full: the figure that people compare."""
    return sum(layer.per_token * size for layer in shape.layers or () if not isinstance(layer, State))


def activation_bytes(shape: Architecture, tokens: int, rows: int, size: int, parts: int = 1) -> int:
    """The largest set of tensors that is alive at once, when ``tokens`` are read in a pass and ``rows`` of them are
    to be continued.

    Per token: the residual stream and its norm, the inputs and outputs of attention, and the widest network with its
    gate, or one per chosen expert. Per row: the scores of all words in float32, once more as probabilities, and sorted
    with their places (as vLLM's sampler does: 4 + 4 + 4 + 8 bytes). Checked against what torch reports of real loads.
    """
    attended = max((_attended(layer, shape.heads) for layer in shape.layers or ()), default=4 * shape.hidden)
    network = 3 * shape.wide
    if shape.experts:
        network = max(network, shape.experts_used * (3 * shape.expert_wide + shape.hidden))
    per_token = size * (6 * shape.hidden + (2 * attended + network) // parts)
    return tokens * per_token + rows * shape.vocabulary * (size + 20)


def _attended(layer: Layer, heads: int) -> int:
    """Numbers of queries, keys, values and results per token."""
    match layer:
        case Attention(heads=kept, key=key, value=value):
            return heads * (key + value) + kept * (key + value)
        case Latent(heads=every, key=key, value=value):
            return 2 * every * (key + value)
        case State(conv=conv):
            return 2 * conv


def scores_bytes(tokens: int, cached: int, size: int) -> int:
    """The mask of ``tokens`` rows against ``cached`` tokens, and the scores of one layer's heads, where attention is
    not fused. On a CPU torch's fused attention needs the mask only."""
    return tokens * cached * size


def adapter_bytes(shape: Architecture, slots: int, rank: int, size: int, parts: int = 1) -> int:
    """``slots`` LoRA adapters of ``rank`` on every matrix: rank x (inputs + outputs) numbers each.

    https://arxiv.org/abs/2106.09685, section 4.1. vLLM sets the slots aside when it starts, whatever they hold.
    """
    if not slots:
        return 0
    per_layer = 3 * (shape.hidden + shape.wide)
    if shape.experts:
        per_layer = 3 * (shape.hidden + shape.expert_wide) * shape.experts + per_layer
    attention = max(
        (_attended(layer, shape.heads) + 4 * shape.hidden for layer in shape.layers or ()), default=8 * shape.hidden
    )
    return slots * rank * size * shape.depth * (per_layer + attention) // parts
