"""Families of models: which kinds of layers a config.json means. What is not listed here is not promised to fit."""

from __future__ import annotations

from collections.abc import Callable

from catalog.configs import Config, ConfigError
from catalog.layers import Attention, Latent, Layer, State

ENCODERS = frozenset(
    "albert bert camembert deberta deberta-v2 distilbert electra ernie modernbert mpnet nomic_bert roberta "
    "roberta-prelayernorm xlm-roberta xlm-roberta-xl".split()
)
# Every layer is attention, full or with the windows that the config tells.
_ATTENTION = frozenset(
    "apertus arcee bloom codegen cohere cohere2 dbrx ernie4_5 ernie4_5_moe exaone exaone4 falcon gemma "
    "gemma2 gemma3 gemma3_text glm glm4 glm4_moe gpt2 gpt_bigcode gpt_neox gpt_oss gptj granite granitemoe "
    "granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe internlm2 internlm3 llama llama4 llama4_text "
    "minimax_m2 ministral ministral3 mistral mixtral mpt nemotron olmo olmo2 olmo3 olmoe opt phi phi3 phimoe "
    "qwen2 qwen2_5_vl qwen2_5_vl_text qwen2_moe qwen2_vl qwen2_vl_text qwen3 qwen3_moe qwen3_vl_moe_text "
    "qwen3_vl_text seed_oss smollm3 stablelm starcoder2 vaultgemma".split()
)
# Those that the torch engine was seen to answer in batches, word for word as transformers' own `generate`.
PAGED = frozenset(
    "apertus arcee cohere cohere2 ernie4_5 ernie4_5_moe exaone4 gemma gemma3 gemma3_text glm glm4 glm4_moe "
    "gpt2 gpt_bigcode gpt_neox granite granitemoe granitemoeshared hunyuan_v1_dense hunyuan_v1_moe internlm3 "
    "llama minimax_m2 ministral ministral3 mistral mixtral olmo olmo2 olmo3 opt phi phi3 phimoe qwen2 "
    "qwen2_moe qwen3 qwen3_moe seed_oss smollm3 starcoder2".split()
)
_LATENT = frozenset("deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_k2 minicpm3".split())


def layers_of(text: Config) -> tuple[Layer, ...] | None:
    """What each layer keeps of a sequence; None where the family is not known, () of an encoder."""
    family = text.model_type
    if family in ENCODERS:
        return ()
    if family in _ATTENTION:
        return _attention_layers(text)
    if family in _LATENT:
        return (_latent(text),) * text.whole("num_hidden_layers")
    rule = _HYBRIDS.get(family)
    return rule(text) if rule else None


def attention(text: Config, window: int = 0) -> Attention:
    """Attention as the config has it. Without a number of key heads there are as many as query heads."""
    heads = text.whole("num_attention_heads")
    size = head_size(text)
    return Attention(key_heads(text, heads), size, text.whole("v_head_dim", size), window)


def head_size(text: Config) -> int:
    if text.get("head_dim") is not None:
        return text.whole("head_dim")
    hidden, heads = text.whole("hidden_size"), text.whole("num_attention_heads")
    if hidden % heads:
        raise ConfigError(f"config.json: {heads} heads do not divide a hidden_size of {hidden}.")
    return hidden // heads


def key_heads(text: Config, heads: int) -> int:
    """Multi-query models have one; Falcon and GPT-BigCode say so by a flag, and Falcon's newer ones in a number."""
    if text.model_type in ("falcon", "gpt_bigcode") and not text.flag("new_decoder_architecture"):
        return 1 if text.flag("multi_query", True) else heads
    if (config := text.part("attn_config")) is not None:  # DBRX and MPT
        return config.whole("kv_n_heads", heads)
    found = text.whole("num_key_value_heads", heads)
    if found > heads or heads % found:
        raise ConfigError(f"config.json: {found} key heads do not divide {heads} heads.")
    return found


def _attention_layers(text: Config) -> tuple[Layer, ...]:
    return tuple(attention(text, window) for window in _windows(text))


def _windows(text: Config) -> list[int]:
    """The window of each layer, 0 where it sees all. In doubt a layer sees all: that keeps more, never less."""
    count, family = text.whole("num_hidden_layers"), text.model_type
    types = layer_types(text)
    if "llama4" in family:
        return _chunks(text, types, count)
    window = text.whole("sliding_window", 0, least=0)
    if not window or not text.flag("use_sliding_window", family not in ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe")):
        return [0] * count
    if types:
        return [window if one == "sliding_attention" else 0 for one in types]
    if family in ("mistral", "mixtral", "phi3", "phimoe", "starcoder2"):
        return [window] * count
    if family == "gemma2":
        return [window if at % 2 == 0 else 0 for at in range(count)]
    every = {"gemma3": 6, "gemma3_text": 6, "cohere2": 4}.get(family)
    if every is not None:
        every = text.whole("sliding_window_pattern", every)
        return [window if (at + 1) % every else 0 for at in range(count)]
    return [0] * count


def _chunks(text: Config, types: tuple[str, ...], count: int) -> list[int]:
    """Llama 4: three layers of four see their chunk only, the fourth has no positions and sees all."""
    chunk = text.whole("attention_chunk_size", 8192)
    kinds = types or tuple("full_attention" if (at + 1) % 4 == 0 else "chunked_attention" for at in range(count))
    return [chunk if kind == "chunked_attention" else 0 for kind in kinds]


def layer_types(text: Config) -> tuple[str, ...]:
    """One word per layer, where the config has them; some families have more words than layers."""
    count = text.whole("num_hidden_layers")
    types = text.names("layer_types")[:count]
    if types and len(types) < count:
        raise ConfigError(f"config.json: {len(types)} layer_types for {count} layers.")
    return types


def _latent(text: Config) -> Latent:
    rope, nope = text.whole("qk_rope_head_dim", 64), text.whole("qk_nope_head_dim", 128)
    heads, rank = text.whole("num_attention_heads"), text.whole("kv_lora_rank", 512)
    index = text.whole("index_head_dim", 128) + 4 if text.get("index_n_heads") is not None else 0
    return Latent(rank, rope, heads, nope + rope, text.whole("v_head_dim", 128), index)


def _by_type(text: Config, types: tuple[str, ...], state: State) -> tuple[Layer, ...] | None:
    """Layers by their words; None where one is not known."""
    made: list[Layer] = []
    for one in types:
        if one in ("full_attention", "attention", "*", "hybrid_attention"):
            made.append(attention(text))
        elif one == "sliding_attention":
            made.append(attention(text, text.whole("sliding_window")))
        elif one in ("linear_attention", "mamba", "conv", "recurrent", "M"):
            made.append(state)
        elif one not in ("mlp", "-", "moe", "E"):
            return None
    return tuple(made)


def _mamba(text: Config) -> tuple[Layer, ...]:
    return (_mamba_state(text),) * text.whole("num_hidden_layers")


def _mamba_state(text: Config) -> State:
    """Mamba 1: the last inputs of each of the inner channels, and a state of ``state_size`` numbers for each."""
    hidden = text.whole("hidden_size")
    expand = text.whole("mamba_expand", text.whole("expand", 2))
    inner = text.whole("intermediate_size", expand * hidden) if text.get("mamba_expand") is None else expand * hidden
    width = text.whole("mamba_d_conv", text.whole("conv_kernel", 4))
    return State(inner * width, inner * text.whole("mamba_d_state", text.whole("state_size", 16)))


def _mamba2(text: Config) -> tuple[Layer, ...]:
    return (_mamba2_state(text),) * text.whole("num_hidden_layers")


def _mamba2_state(text: Config) -> State:
    """Mamba 2: the convolution also runs over the groups' B and C; the state is heads x head size x state size."""
    hidden = text.whole("hidden_size")
    heads = _first(text, "mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads")
    size = _first(text, "mamba_d_head", "mamba_headdim", "mamba_head_dim", "head_dim")
    expanded = _first(text, "mamba_d_ssm") or _first(text, "mamba_expand", "expand", default=2) * hidden
    inner = max(expanded, heads * size)
    groups = _first(text, "mamba_n_groups", "mamba_ngroups", "n_groups", default=1)
    state = _first(text, "mamba_d_state", "ssm_state_size", "state_size", default=128)
    width = _first(text, "mamba_d_conv", "conv_kernel", default=4)
    return State((inner + 2 * groups * state) * width, inner * state)


def _first(text: Config, *names: str, default: int = 0) -> int:
    """The first of these numbers that is written down as one."""
    return next((text.whole(one) for one in names if isinstance(text.values.get(one), int)), default)


def _jamba(text: Config) -> tuple[Layer, ...]:
    every, offset = text.whole("attn_layer_period", 8), text.whole("attn_layer_offset", 4, least=0)
    full, state = attention(text), _mamba_state(text)
    return tuple(full if at % every == offset else state for at in range(text.whole("num_hidden_layers")))


def _bamba(text: Config) -> tuple[Layer, ...]:
    places, state = text.places("attn_layer_indices"), _mamba2_state(text)
    return tuple(attention(text) if at in places else state for at in range(text.whole("num_hidden_layers")))


def _granite_hybrid(text: Config) -> tuple[Layer, ...] | None:
    return _by_type(text, layer_types(text), _mamba2_state(text)) or None


def _nemotron(text: Config) -> tuple[Layer, ...] | None:
    pattern = str(text.get("hybrid_override_pattern") or "")
    if pattern and len(pattern) != text.whole("num_hidden_layers"):
        raise ConfigError(f"config.json: hybrid_override_pattern tells of {len(pattern)} layers.")
    return _by_type(text, tuple(pattern) or layer_types(text), _mamba2_state(text)) or None


def _zamba(text: Config) -> tuple[Layer, ...] | None:
    """Every layer is a Mamba 2; where it is "hybrid", a shared attention of twice the width stands before it."""
    kinds = text.names("layers_block_type")
    size = text.whole("attention_head_dim", 2 * text.whole("hidden_size") // text.whole("num_attention_heads"))
    heads = text.whole("num_key_value_heads", text.whole("num_attention_heads"))
    if len(kinds) != text.whole("num_hidden_layers"):
        return None
    hybrid = Attention(heads, size, size)
    return (_mamba2_state(text),) * len(kinds) + (hybrid,) * kinds.count("hybrid")


def _falcon_h1(text: Config) -> tuple[Layer, ...]:
    """Attention and Mamba 2 side by side in every layer."""
    return (attention(text), _mamba2_state(text)) * text.whole("num_hidden_layers")


def _delta(text: Config) -> tuple[Layer, ...] | None:
    """Qwen 3 Next and 3.5: gated delta rule, every fourth layer attention."""
    keys = text.whole("linear_num_key_heads", 16) * text.whole("linear_key_head_dim", 128)
    heads, size = text.whole("linear_num_value_heads", 32), text.whole("linear_value_head_dim", 128)
    width = text.whole("linear_conv_kernel_dim", 4)
    state = State((2 * keys + heads * size) * width, heads * text.whole("linear_key_head_dim", 128) * size)
    count, every = text.whole("num_hidden_layers"), text.whole("full_attention_interval", 4)
    kinds = tuple("linear_attention" if (at + 1) % every else "full_attention" for at in range(count))
    return _by_type(text, layer_types(text) or kinds, state)


def _lfm2(text: Config) -> tuple[Layer, ...] | None:
    """Short convolutions, and attention where ``layer_types`` or ``full_attn_idxs`` says so."""
    places = text.places("full_attn_idxs")
    count = text.whole("num_hidden_layers")
    kinds = tuple("full_attention" if at in places else "conv" for at in range(count))
    if not layer_types(text) and not places:
        return None
    return _by_type(
        text, layer_types(text) or kinds, State(text.whole("hidden_size") * text.whole("conv_L_cache", 3), 0)
    )


def _recurrent_gemma(text: Config) -> tuple[Layer, ...]:
    """Two recurrent layers, then attention with a window; ``block_types`` repeats."""
    kinds = text.names("block_types") or ("recurrent", "recurrent", "attention")
    width = text.whole("lru_width", text.whole("hidden_size"))
    state = State(width * text.whole("conv1d_width", 4), width)
    window = attention(text, text.whole("attention_window_size", 2048))
    count = text.whole("num_hidden_layers")
    return tuple(window if kinds[at % len(kinds)] == "attention" else state for at in range(count))


_HYBRIDS: dict[str, Callable[[Config], tuple[Layer, ...] | None]] = {
    "mamba": _mamba,
    "falcon_mamba": _mamba,
    "mamba2": _mamba2,
    "jamba": _jamba,
    "bamba": _bamba,
    "granitemoehybrid": _granite_hybrid,
    "nemotron_h": _nemotron,
    "zamba2": _zamba,
    "falcon_h1": _falcon_h1,
    "qwen3_next": _delta,
    "qwen3_5": _delta,
    "qwen3_5_text": _delta,
    "qwen3_5_moe": _delta,
    "qwen3_5_moe_text": _delta,
    "lfm2": _lfm2,
    "lfm2_moe": _lfm2,
    "recurrent_gemma": _recurrent_gemma,
}
