"""`Architecture`: what a config.json says of a model's shape, as far as its memory depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catalog.configs import Config, ConfigError, text_part
from catalog.families import layers_of
from catalog.layers import Attention, Latent, Layer, State

SIZES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}  # bytes of the types that engines calculate in
_SEEING = ("vision_config", "visual", "audio_config", "vision_tower", "mm_vision_tower")


@dataclass(frozen=True)
class Architecture:
    """The shape of a model. ``layers`` is what each keeps of a sequence: None where the family is not known, () of
    an encoder.

    ``wide`` is the inner size of a dense layer, ``expert_wide`` of one expert; ``context`` 0 means no limit of its
    own. ``stored`` is how the weights are quantised ("" for not). ``senses``: it sees or hears, too.
    """

    family: str
    layers: tuple[Layer, ...] | None
    depth: int
    hidden: int
    heads: int
    wide: int
    vocabulary: int
    context: int
    dtype: str
    experts: int = 0
    experts_used: int = 0
    expert_wide: int = 0
    tied: bool = False
    stored: str = ""
    senses: bool = False
    own_code: bool = False

    @property
    def writes(self) -> bool:
        """It is a decoder of a known family."""
        return bool(self.layers)

    @property
    def kinds(self) -> str:
        """The layers in words, such as ``28 full, 5 sliding (1024)``."""
        if not self.layers:
            return "" if self.layers is None else f"{self.depth} encoder"
        counted: dict[str, int] = {}
        for layer in self.layers:
            counted[_word(layer)] = counted.get(_word(layer), 0) + 1
        return ", ".join(f"{count} {word}" for word, count in counted.items())

    @property
    def has_state(self) -> bool:
        return any(isinstance(layer, State) for layer in self.layers or ())


def read_architecture(config: Mapping[str, Any]) -> Architecture:
    """The shape that ``config`` describes; ConfigError where its numbers are absurd."""
    whole = Config(config)
    text = text_part(whole)
    family = text.model_type or whole.model_type
    if not family:
        raise ConfigError("config.json has no model_type.", hint="is this the config.json of a model?")
    if whole.flag("is_encoder_decoder") or text.flag("is_encoder_decoder"):
        layers: tuple[Layer, ...] | None = None
    else:
        layers = layers_of(text if text.model_type else Config({**text.values, "model_type": family}))
    hidden = text.whole("hidden_size", 0 if layers is None else None, least=0 if layers is None else 1)
    experts = next((text.whole(n, least=0) for n in _EXPERTS if text.get(n) is not None), 0)
    return Architecture(
        family=family,
        layers=layers,
        depth=text.whole("num_hidden_layers", 0, least=0),
        hidden=hidden,
        heads=text.whole("num_attention_heads", 0, least=0),
        wide=_wide(text, hidden),
        vocabulary=text.whole("vocab_size", 0, least=0),
        context=text.whole("max_position_embeddings", 0, least=0),
        dtype=_dtype(whole, text),
        experts=experts,
        experts_used=next((text.whole(n) for n in _USED if text.get(n) is not None), min(experts, 2)),
        expert_wide=text.whole("moe_intermediate_size", _wide(text, hidden), least=0) if experts else 0,
        tied=text.flag("tie_word_embeddings", whole.flag("tie_word_embeddings", True)),
        stored=_stored(whole, text),
        senses=any(whole.get(name) is not None for name in _SEEING),
        own_code=whole.get("auto_map") is not None,
    )


_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_USED = ("num_experts_per_tok", "moe_topk", "moe_k", "num_experts_per_token")


def _wide(text: Config, hidden: int) -> int:
    value = text.get("intermediate_size")
    if isinstance(value, list) and value:  # one per layer
        return max(Config({"intermediate_size": one}).whole("intermediate_size") for one in value)
    return text.whole("intermediate_size", 4 * hidden, least=0)


def _dtype(whole: Config, text: Config) -> str:
    for part in (text, whole):
        named = str(part.get("torch_dtype") or part.get("dtype") or "").removeprefix("torch.")
        if named in SIZES:
            return named
    return "float32"  # what a config means that does not say it


def _stored(whole: Config, text: Config) -> str:
    """``gptq int4``: the method, and the bits where the config tells them."""
    found = whole.part("quantization_config") or text.part("quantization_config")
    if found is None:
        return ""
    method = str(found.get("quant_method") or found.get("quant_algo") or "unknown")
    bits = found.get("bits") or (4 if found.flag("load_in_4bit") else 8 if found.flag("load_in_8bit") else None)
    return f"{method} int{bits}" if isinstance(bits, int) else method


def _word(layer: Layer) -> str:
    match layer:
        case Attention(window=0):
            return "full"
        case Attention(window=window):
            return f"sliding ({window})"
        case Latent():
            return "latent"
        case _:
            return "state"
