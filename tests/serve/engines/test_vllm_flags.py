"""What vLLM is told on its command line: pure functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.machine import Gpu, Machine
from catalog.memory import GIB
from promptflow.exceptions import ValidationException
from serve.engines.kinds import kind_of
from serve.engines.vllm_control import Load, load_of
from serve.engines.vllm_flags import Asked, Lora, NoFitError, check, command_line, parser_of, start_for
from tests import tiny_models

H200 = Machine(128 * GIB, 100 * GIB, 16, (Gpu("H200", 139 * GIB, 138 * GIB, (9, 0)),))
NO_GPU = Machine(24 * GIB, 20 * GIB, 2)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, []),
        ({"max_model_len": 8192}, ["--max-model-len=8192"]),
        ({"dtype": "bfloat16", "gpu_memory_utilization": 0.9}, ["--dtype=bfloat16", "--gpu-memory-utilization=0.9"]),
        ({"enable_lora": True, "enable_prefix_caching": False}, ["--enable-lora", "--no-enable-prefix-caching"]),
        ({"max_num_seqs": None}, []),
        ({"allowed_media_domains": ["a", "b"]}, ["--allowed-media-domains", "a", "b"]),
        ({"speculative_config": {"method": "ngram"}}, ['--speculative-config={"method": "ngram"}']),
        ({"chat-template": "-x"}, ["--chat-template=-x"]),  # no flag of its own
    ],
)
def test_flags_become_words(flags: dict[str, Any], words: list[str]) -> None:
    assert command_line(flags) == words


@pytest.mark.parametrize(
    "name", ["trust_remote_code", "trust-remote-code", "api_key", "host", "uds", "middleware", "model"]
)
def test_what_is_not_the_users_to_set_is_refused(name: str) -> None:
    with pytest.raises(ValidationException, match="not set by hand"):
        check({name: "x"})


@pytest.mark.parametrize("name", ["", "--dtype", "a b", "Dtype", "x=y"])
def test_what_is_no_flag_is_refused(name: str) -> None:
    with pytest.raises(ValidationException, match="no flag of vLLM"):
        check({name: 1})


@pytest.mark.parametrize(("gpu", "machine"), [(True, H200), (False, NO_GPU)])
def test_pickles_are_not_given_to_vllm(tmp_path: Path, gpu: bool, machine: Machine) -> None:
    folder = tiny_models.decoder(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValidationException, match="its weights are pickles"):
        start_for(folder, "generate", gpu, machine, Asked())


def test_on_a_gpu_the_fit_is_the_command_line(models: Path) -> None:
    start = start_for(models / "llama", "generate", True, H200, Asked(sleep=True), Lora(2, 4))
    flags = dict(start.flags)
    assert flags.pop("structured_outputs_config") == {"backend": "xgrammar", "disable_any_whitespace": True}
    assert flags == {
        "dtype": "bfloat16",
        "max_model_len": tiny_models.CONTEXT,
        "max_num_seqs": 1024,
        "max_num_batched_tokens": 8192,
        "gpu_memory_utilization": 0.9,
        "tensor_parallel_size": 1,
        "enable_lora": True,
        "max_loras": 2,
        "max_lora_rank": 8,  # there are no kernels for 4
        "max_cpu_loras": 16,
        "enable_sleep_mode": True,
        "runner": "generate",
        "enable_auto_tool_choice": True,
        "tool_call_parser": "hermes",
        "disable_uvicorn_access_log": True,
    }
    assert start.environ == {} and start.weights > 200_000


def test_without_a_gpu_the_cache_is_a_part_of_the_memory(models: Path, tmp_path: Path) -> None:
    folder = tiny_models.decoder(tmp_path / "deep", layers=96, context=65536)
    start = start_for(folder, "generate", False, NO_GPU, Asked())
    assert start.environ == {"VLLM_CPU_KVCACHE_SPACE": "5"} and start.flags["max_model_len"] == 8192


def test_without_a_gpu_a_small_model_gets_what_it_can_use(models: Path) -> None:
    start = start_for(models / "llama", "generate", False, NO_GPU, Asked(sleep=True))
    assert start.environ == {"VLLM_CPU_KVCACHE_SPACE": "1"}  # it has no use for more
    assert start.flags["dtype"] == "float32" and start.flags["max_model_len"] == tiny_models.CONTEXT
    assert start.flags["enforce_eager"] is True
    assert "enable_sleep_mode" not in start.flags and "enable_lora" not in start.flags


def test_the_owner_has_the_last_word(models: Path) -> None:
    asked = Asked(context=256, concurrency=4, flags={"enforce_eager": False, "seed": 3})
    for gpu, machine in ((True, H200), (False, NO_GPU)):
        flags = start_for(models / "llama", "generate", gpu, machine, asked).flags
        assert (flags["max_model_len"], flags["max_num_seqs"]) == (256, 4)
        assert (flags["enforce_eager"], flags["seed"]) == (False, 3)


@pytest.mark.parametrize(("folder", "task"), [("bert", "embed"), ("ranker", "rerank")])
def test_models_that_generate_nothing_are_pooled(models: Path, folder: str, task: str) -> None:
    flags = start_for(models / folder, task, False, NO_GPU, Asked()).flags
    assert flags["runner"] == "pooling" and "tool_call_parser" not in flags


def test_a_model_that_does_not_fit_is_not_started(tmp_path: Path) -> None:
    folder = tiny_models.decoder(tmp_path / "m")
    small = Machine(8 * GIB, 8 * GIB, 2, (Gpu("old", GIB, GIB, (9, 0)),))
    with pytest.raises(NoFitError, match="does not fit the GPU"):
        start_for(folder, "generate", True, small, Asked())


def test_a_family_that_is_not_known_is_left_to_vllm(tmp_path: Path) -> None:
    folder = tiny_models.decoder(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "brand_new"}))
    flags = start_for(folder, "generate", True, H200, Asked()).flags
    assert "gpu_memory_utilization" not in flags and flags["max_model_len"] is None


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("{{ '<tool_call>' }}", "hermes"),
        ("<tool_call>\n<function=name>", "qwen3_coder"),
        ("[TOOL_CALLS]", "mistral"),
        ("<|python_tag|>", "llama3_json"),
        ("{{ messages }}", ""),
    ],
)
def test_the_template_tells_how_tools_are_called(tmp_path: Path, template: str, parser: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    assert parser_of(tmp_path) == parser


def test_on_a_processor_there_is_room_for_an_adapter_of_our_own(models: Path) -> None:
    flags = start_for(models / "llama", "generate", False, NO_GPU, Asked(), Lora(2, 8)).flags
    assert (flags["max_loras"], flags["max_cpu_loras"]) == (3, 24)


@pytest.mark.parametrize(("rank", "room"), [(1, 8), (8, 8), (9, 16), (200, 256), (512, 512)])
def test_adapters_take_the_room_of_the_next_rank_that_there_is(rank: int, room: int) -> None:
    assert Lora(2, rank).flags()["max_lora_rank"] == room


def test_ranks_beyond_the_largest_are_refused() -> None:
    with pytest.raises(ValidationException, match="rank 512 at most, not 513"):
        Lora(1, 513).flags()


def test_room_grows_and_never_shrinks() -> None:
    assert Lora().with_rank(4) == Lora(4, 4)
    assert Lora(2, 16).with_rank(4) == Lora(2, 16)
    assert Lora(2, 16).with_rank(64) == Lora(2, 64)
    assert not Lora().holds(1) and Lora(1, 16).holds(16) and not Lora(1, 16).holds(17)


def test_what_vllm_counts_is_summed_over_its_engines() -> None:
    text = """\
# HELP vllm:num_requests_running now
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 5.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 6.0
vllm:request_success_total{engine="0",finished_reason="error",model_name="m"} 1.0
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.79e+09
vllm:prompt_tokens_total{engine="0",model_name="m"} 1.2e+03
vllm:generation_tokens_total{engine="0",model_name="m"} 34.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.125
vllm:broken{engine="0"} many
"""
    assert load_of(text) == Load(3, 4, 11, 1, 1200, 34, 0.125)
    assert load_of("") == Load()


def test_vllm_is_taken_where_it_is_and_the_model_generates(models: Path) -> None:
    assert kind_of(models / "llama", lambda: True) == "vllm"
    assert kind_of(models / "llama", lambda: False) == "transformers"
    assert kind_of(models / "bert", lambda: True) == "transformers"
    assert kind_of(models / "llama") == "transformers"  # this workspace has none
