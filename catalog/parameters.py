"""How many parameters a config.json means, where no weights are there to be counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalog.architecture import Architecture
from catalog.configs import Config, text_part
from catalog.layers import Attention, Latent
from catalog.weights import Weights

# Two matrices per layer, not three: these have no gate.
_PLAIN = frozenset(
    "bloom codegen falcon gpt2 gpt_bigcode gpt_neox gptj mpt nemotron opt phi starcoder2".split()
) | frozenset("albert bert camembert deberta deberta-v2 distilbert electra ernie mpnet roberta xlm-roberta".split())
_TYPES = {2: "BF16", 4: "F32", 8: "F64"}


def weights_by_config(shape: Architecture, config: Mapping[str, Any], size: int) -> Weights | None:
    """About the weights of a model that is stored in ``size`` bytes per number; None where that cannot be told.

    Matrices and embeddings to the number, the vectors beside them (norms, biases) generously. Models with images,
    states or quantised weights have parts that a config does not tell enough of.
    """
    if shape.layers is None or shape.senses or shape.stored or shape.has_state:
        return None
    text = text_part(Config(config))
    embedded = shape.vocabulary * shape.hidden
    outside = embedded * (1 if shape.tied or not shape.layers else 2)
    outside += (text.whole("type_vocab_size", 0, least=0) + _positions(shape, text)) * shape.hidden
    per_layer = [_mixing(shape, text, at) + _thinking(shape, text, at) for at in range(shape.depth)]
    routers = shape.experts * shape.hidden * shape.depth
    vectors = shape.depth * (16 * shape.hidden + 2 * shape.wide) + 4 * shape.hidden
    vectors += shape.depth * shape.experts * (2 * shape.expert_wide + shape.hidden)
    total = outside + sum(per_layer) + routers + vectors
    kind = _TYPES[size]
    return Weights(total * size, False, {kind: total}, {kind: outside + routers + vectors}, embedded * size)


def _positions(shape: Architecture, text: Config) -> int:
    """Learned positions; the others are computed."""
    return shape.context if shape.family in ("gpt2", "gpt_bigcode", "opt", *_PLAIN) and shape.context < 1 << 16 else 0


def _mixing(shape: Architecture, text: Config, at: int) -> int:
    """The matrices of one layer's attention."""
    hidden, layer = shape.hidden, shape.layers[at] if shape.layers else None
    if isinstance(layer, Latent):
        narrow = text.whole("q_lora_rank", 0, least=0)
        queries = narrow * (hidden + layer.heads * layer.key) if narrow else hidden * layer.heads * layer.key
        nope = layer.key - layer.rope
        keys = hidden * (layer.rank + layer.rope) + layer.rank * layer.heads * (nope + layer.value)
        index = text.whole("index_n_heads", 0, least=0) * text.whole("index_head_dim", 128) * (narrow or hidden)
        return queries + keys + layer.heads * layer.value * hidden + index + (hidden * layer.index if index else 0)
    if isinstance(layer, Attention):
        return hidden * (2 * shape.heads * layer.key + layer.heads * (layer.key + layer.value))
    return 4 * hidden * hidden + (hidden * hidden if at == 0 else 0)  # an encoder, and what pools its last layer


def _thinking(shape: Architecture, text: Config, at: int) -> int:
    """The matrices of what follows: one dense network, or experts."""
    matrices = 2 if shape.family in _PLAIN else 3
    dense = matrices * shape.hidden * shape.wide
    if not shape.experts or at < text.whole("first_k_dense_replace", 0, least=0):
        return dense
    each = matrices * shape.hidden * shape.expert_wide
    shared = text.whole("n_shared_experts", 0, least=0) * each
    shared += matrices * shape.hidden * text.whole("shared_expert_intermediate_size", 0, least=0)
    shared += matrices * shape.hidden * text.whole("shared_intermediate_size", 0, least=0)
    return shape.experts * each + shared
