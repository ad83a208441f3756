"""Reading numbers out of a model's config.json, which anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptflow.exceptions import ValidationException

# The largest numbers of published models are some ten times less than these.
LIMITS = {
    "hidden_size": 1 << 17,
    "num_hidden_layers": 2048,
    "num_attention_heads": 4096,
    "num_key_value_heads": 4096,
    "head_dim": 1 << 14,
    "intermediate_size": 1 << 20,
    "vocab_size": 1 << 23,
    "max_position_embeddings": 1 << 30,
}
LIMIT = 1 << 24
# The same things under the names of older families.
OTHER_NAMES = {
    "hidden_size": ("n_embd", "d_model", "dim", "model_dim"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads", "encoder_attention_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "head_dim": ("attention_head_dim", "kv_channels", "d_kv"),
    "intermediate_size": ("n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "hidden_dim"),
    "max_position_embeddings": ("n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length"),
    "vocab_size": ("padded_vocab_size",),
}
# Where models that also see or hear keep the part that writes.
TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")


class ConfigError(ValidationException):
    """A config.json says something that no model can be."""


class Config:
    """A config.json by name; every number is checked when it is asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        if not isinstance(values, Mapping):
            raise ConfigError(f"config.json holds {type(values).__name__}, not an object.")
        self.values = values

    def get(self, name: str) -> Any:
        """As it is written, under any of its names; None where it is missing."""
        for one in (name, *OTHER_NAMES.get(name, ())):
            if self.values.get(one) is not None:
                return self.values[one]
        return None

    def whole(self, name: str, default: int | None = None, least: int = 1) -> int:
        """A whole number from ``least`` to what is sane; ConfigError otherwise, or if it is missing with no default."""
        value = self.get(name)
        if value is None:
            if default is None:
                raise ConfigError(f"config.json has no {name}.", hint="is this the config.json of a language model?")
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"config.json: {name} must be a whole number, found {_short(value)}.")
        limit = LIMITS.get(name, LIMIT)
        if not least <= value <= limit:
            raise ConfigError(
                f"config.json: {name} is {_short(value)}; no model has that.", location=f"config.json {name}"
            )
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.get(name)
        return default if value is None else bool(value)

    def names(self, name: str) -> tuple[str, ...]:
        """A list of words, empty where it is none."""
        value = self.get(name)
        return tuple(str(one) for one in value) if isinstance(value, list | tuple) else ()

    def places(self, name: str) -> frozenset[int]:
        """A list of the numbers of layers, empty where it is none."""
        value = self.get(name)
        return (
            frozenset(one for one in value if isinstance(one, int)) if isinstance(value, list | tuple) else frozenset()
        )

    def part(self, *names: str) -> Config | None:
        """The first of these that is an object."""
        return next((Config(self.values[one]) for one in names if isinstance(self.values.get(one), Mapping)), None)

    @property
    def model_type(self) -> str:
        return str(self.values.get("model_type") or "")


def text_part(config: Config) -> Config:
    """The part that writes, of a model that also sees or hears; itself otherwise."""
    for _ in range(3):
        part = config.part(*TEXT_PARTS)
        if part is None:
            return config
        config = part
    return config


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
