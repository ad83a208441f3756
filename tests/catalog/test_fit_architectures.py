"""The shapes of thirty published models: their caches by hand, their parameters as transformers builds them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from catalog.architecture import SIZES, read_architecture
from catalog.configs import ConfigError
from catalog.fit import predict
from catalog.layers import Attention, State
from catalog.machine import Gpu, Machine
from catalog.memory import cache_bytes, token_bytes
from catalog.parameters import weights_by_config
from catalog.plans import Wish
from catalog.weights import Weights, WeightsError
from promptflow.exceptions import ValidationException

FILES = sorted((Path(__file__).parent / "architectures").glob("*.json"))
NAMES = [file.stem for file in FILES]
GB = 1 << 30


def told(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "architectures" / f"{name}.json").read_text())


def test_there_are_enough_of_all_kinds() -> None:
    kinds = " ".join(read_architecture(told(name)["config"]).kinds for name in NAMES)
    assert len(NAMES) >= 20
    assert all(word in kinds for word in ("full", "sliding", "latent", "state", "encoder"))


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_of_one_token_is_what_the_model_keeps(name: str) -> None:
    case = told(name)
    assert token_bytes(read_architecture(case["config"]), 2) == case["cache_per_token"]


# Bytes in 16 bits, as anybody can count them: layers x 2 x key heads x head size x 2 bytes, and so on.
BY_HAND = {
    "llama_8b": 32 * 2 * 8 * 128 * 2,
    "llama2_7b": 32 * 2 * 32 * 128 * 2,
    "qwen3_30b_a3b": 48 * 2 * 4 * 128 * 2,
    "falcon_7b": 32 * 2 * 1 * 64 * 2,
    "deepseek_v3": 61 * (512 + 64) * 2,
    "deepseek_v2_lite": 27 * (512 + 64) * 2,
    "gemma3_1b": 26 * 2 * 1 * 256 * 2,
    "jamba": 4 * 2 * 8 * 128 * 2,
    "qwen3_next": 12 * 2 * 2 * 256 * 2,
    "mamba_2_8b": 0,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_cache_by_hand(name: str) -> None:
    assert told(name)["cache_per_token"] == BY_HAND[name]


def test_windows_end_the_growth_of_a_cache() -> None:
    shape = read_architecture(told("mistral_7b")["config"])
    short, long, longer = (cache_bytes(shape, tokens, 2, ahead=2048) for tokens in (1024, 16384, 32768))
    assert short < long == longer
    mixed = read_architecture(told("gemma3_1b")["config"])
    assert [layer.window for layer in mixed.layers or () if isinstance(layer, Attention)].count(0) == 4


def test_states_do_not_grow() -> None:
    shape = read_architecture(told("mamba_2_8b")["config"])
    assert cache_bytes(shape, 16, 2, ahead=2048) == cache_bytes(shape, 1 << 20, 2, ahead=2048)
    assert shape.layers is not None and shape.layers[0] == State(5120 * 4, 5120 * 16)


def test_an_engine_that_unfolds_latent_vectors_keeps_many_times_more() -> None:
    shape = read_architecture(told("deepseek_v3")["config"])
    folded, unfolded = (cache_bytes(shape, 4096, 2, ahead=0, folded=way) for way in (True, False))
    assert unfolded / folded == pytest.approx(128 * (192 + 128) / (512 + 64))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_by_config_are_near_and_not_below(name: str) -> None:
    case = told(name)
    shape = read_architecture({**case["config"], "quantization_config": None})
    weights = weights_by_config(shape, case["config"], SIZES[shape.dtype])
    if weights is None:
        assert shape.has_state
        return
    assert not weights.exact
    assert 1 <= sum(weights.numbers.values()) / case["parameters"] < 1.02


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("memory", [8, 16, 24, 48, 80, 141])
def test_nothing_is_said_to_fit_that_does_not(name: str, memory: int) -> None:
    """Against the least that anything can do with: the weights, and each token's cache, without windows' slack."""
    case = told(name)
    shape = read_architecture(case["config"])
    stored = case["parameters"] * SIZES[shape.dtype]
    weights = Weights(stored, True, {{2: "BF16", 4: "F32"}[SIZES[shape.dtype]]: case["parameters"]})
    gpu = Gpu("a GPU", memory * GB, memory * GB, (9, 0))
    fit = predict(case["config"], weights, Machine(16 * GB, 12 * GB, 4, (gpu,)), Wish(concurrency=2))
    for plan in fit.plans:
        size = 2 if plan.device == "gpu" else 4
        cache = 2 * sum(
            min(plan.context, getattr(layer, "window", 0) or plan.context) * layer.per_token * size
            for layer in shape.layers or ()
            if not isinstance(layer, State)
        )
        if plan.fits and not plan.copy:
            assert case["parameters"] * size + cache < (memory * GB if plan.device == "gpu" else 12 * GB)
        if plan.fits:
            assert plan.needed <= plan.available and plan.max_concurrency >= 2 and plan.max_context >= plan.context
        if plan.max_concurrency and plan.engine == "vllm":
            asked = Wish(context=plan.context, concurrency=plan.max_concurrency + 1)
            more = predict(case["config"], weights, Machine(16 * GB, 12 * GB, 4, (gpu,)), asked)
            assert not [one for one in more.plans if (one.engine, one.dtype) == (plan.engine, plan.dtype)][0].fits


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": 10**12}, "hidden_size is 1000000000000"),
        ({"hidden_size": -4096}, "hidden_size is -4096"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": "32"}, "must be a whole number"),
        ({"num_hidden_layers": True}, "must be a whole number"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 7}, "do not divide"),
        ({"num_key_value_heads": 64}, "do not divide"),
        ({"head_dim": 1e300}, "head_dim"),
        ({"vocab_size": float("nan")}, "vocab_size"),
        ({"vocab_size": [1]}, "vocab_size"),
        ({"max_position_embeddings": 1 << 62}, "max_position_embeddings"),
        ({"model_type": ""}, "no model_type"),
        ({"hidden_size": None}, "no hidden_size"),
        ({"sliding_window": 4096, "layer_types": ["full_attention"]}, "1 layer_types for 32 layers"),
    ],
)
def test_absurd_numbers_are_clear_errors(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_architecture({**told("llama_8b")["config"], **change})


JUNK = [None, 0, -1, 3, 1.5, float("nan"), float("inf"), "x", [], [1, 2], ["full_attention"], {"a": 1}, True, 10**30]
EXTRA = [
    "text_config",
    "quantization_config",
    "layer_types",
    "sliding_window",
    "vision_config",
    "attn_config",
    "head_dim",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_junk_in_a_config_is_more_than_an_error(name: str) -> None:
    random = Random(name)
    config = told(name)["config"]
    machine = Machine(64 * GB, 60 * GB, 8, (Gpu("a GPU", 24 * GB, 24 * GB, (8, 9)),) * 2)
    for key in [*config, *EXTRA]:
        with contextlib.suppress(ConfigError, WeightsError):
            fit = predict({**config, key: random.choice(JUNK)}, Weights(GB, True, {"BF16": GB // 2}), machine)
            assert all(plan.weights < plan.needed <= plan.available for plan in fit.plans if plan.fits)


@pytest.mark.parametrize("wish", [Wish(context=-1), Wish(concurrency=0), Wish(adapters=-4), Wish(dtype="int3")])
def test_wishes_that_nobody_can_have(wish: Wish) -> None:
    with pytest.raises(ValidationException):
        predict(told("llama_8b")["config"], None, Machine(GB, GB, 1), wish)


def test_a_family_that_is_not_known_never_fits() -> None:
    config = {**told("llama_8b")["config"], "model_type": "surprise", "auto_map": {"AutoModel": "code.Model"}}
    fit = predict(config, Weights(1000, True, {"BF16": 500}), Machine(64 * GB, 64 * GB, 8))
    assert fit.fits is None
    assert "surprise is not known, and brings code of its own" in fit.best.why


def test_models_that_also_see_are_read_by_their_text_part() -> None:
    config = {"model_type": "qwen2_5_vl", "vision_config": {"depth": 32}, "text_config": told("qwen2_7b")["config"]}
    shape = read_architecture(config)
    assert shape.senses and shape.kinds == "28 full"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_transformers_builds_the_model_with_as_many_parameters(name: str) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    case = told(name)
    config = {key: value for key, value in case["config"].items() if key != "quantization_config"}
    with torch.device("meta"):
        model = getattr(transformers, config["architectures"][0])(transformers.AutoConfig.for_model(**config))
    assert sum(one.numel() for one in model.parameters()) == case["parameters"]
