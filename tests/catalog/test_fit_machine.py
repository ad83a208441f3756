"""Memory and GPUs of made-up machines, and of this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalog.architecture import read_architecture
from catalog.machine import Gpu, Machine, has_tiles, main_memory, nvidia_gpus
from catalog.plans import Plan, Wish, plans
from catalog.weights import Weights
from tests.catalog.test_fit_architectures import GB, told

MEMINFO = "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n"


def root(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_this_machine_has_memory_and_cores() -> None:
    here = Machine.here()
    assert 0 < here.available <= here.memory and here.cores >= 1


def test_main_memory_is_what_is_available(tmp_path: Path) -> None:
    assert main_memory(root(tmp_path, {})) == (16 * GB, 8 * GB)


@pytest.mark.parametrize(
    "files",
    [
        {"sys/fs/cgroup/memory.max": f"{4 * GB}", "sys/fs/cgroup/memory.current": f"{3 * GB}",
         "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {GB}"},
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{4 * GB}",
         "sys/fs/cgroup/a/memory.current": f"{2 * GB}", "sys/fs/cgroup/a/memory.stat": "inactive_file 0",
         "sys/fs/cgroup/a/b/memory.max": "max"},
        {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GB}",
         "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GB}",
         "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GB}"},
    ],
)  # fmt: skip
def test_a_container_has_what_its_limit_leaves(tmp_path: Path, files: dict[str, str]) -> None:
    assert main_memory(root(tmp_path, files)) == (4 * GB, 2 * GB)


def nvidia_smi(folder: Path, lines: str) -> dict[str, str]:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/bin:/usr/bin"}


TWO = "0, GPU-aa, NVIDIA L4, 23034, 22500, 8.9, [N/A]\n1, GPU-bb, NVIDIA H200, 143771, 1000, 9.0, Disabled"


def test_gpus_are_what_nvidia_smi_tells(tmp_path: Path) -> None:
    first, second = nvidia_gpus(nvidia_smi(tmp_path, TWO))
    assert first == Gpu("NVIDIA L4", 23034 << 20, 22500 << 20, (8, 9))
    assert second.free == 1000 << 20


@pytest.mark.parametrize(
    ("visible", "names"),
    [("1", ["H200"]), ("1,0", ["H200", "L4"]), ("GPU-aa", ["L4"]), ("", []), ("-1", []), ("0,7,1", ["L4"])],
)
def test_only_those_that_cuda_shows(tmp_path: Path, visible: str, names: list[str]) -> None:
    found = nvidia_gpus(nvidia_smi(tmp_path, TWO) | {"CUDA_VISIBLE_DEVICES": visible})
    assert [gpu.name.split()[-1] for gpu in found] == names


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "No devices were found",
        "0, GPU-aa, A100, 81920, 80000, 8.0, Enabled",
        "0, GPU-aa, GB10, [N/A], [N/A], 12.1, N/A",
    ],
)
def test_a_gpu_that_is_cut_or_does_not_tell_is_none(tmp_path: Path, lines: str) -> None:
    assert nvidia_gpus(nvidia_smi(tmp_path, lines)) == ()


def test_a_driver_that_fails_is_no_gpu(tmp_path: Path) -> None:
    environ = nvidia_smi(tmp_path, "")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert nvidia_gpus(environ) == ()
    assert nvidia_gpus({"PATH": os.devnull}) == ()


def test_tiles(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags : fpu amx_bf16 amx_tile amx_int8\n")
    assert has_tiles(tmp_path / "cpuinfo") and not has_tiles(tmp_path / "none")


def made(name: str, machine: Machine, wish: Wish | None = None, **changes: object) -> list[Plan]:
    case = told(name)
    shape = read_architecture({**case["config"], **changes})
    return list(
        plans(shape, Weights(case["parameters"] * 2, True, {"BF16": case["parameters"]}), machine, wish or Wish())
    )


def gpus(count: int, size: int, free: int = 0, capability: tuple[int, int] = (9, 0)) -> Machine:
    return Machine(64 * GB, 4 * GB, 8, (Gpu("a GPU", size * GB, (free or size) * GB, capability),) * count)


def test_a_large_model_is_dealt_out_to_as_few_gpus_as_will_do() -> None:
    assert made("llama_70b", gpus(1, 80))[0].fits is False
    plan = made("llama_70b", gpus(8, 80))[0]
    assert (plan.fits, plan.gpus, plan.flags["tensor_parallel_size"]) == (True, 4, 4)
    assert plan.weights < 141_107_412_992 / 4 * 1.03


def test_memory_that_others_use_is_not_ours() -> None:
    assert made("llama_8b", gpus(1, 24))[0].fits is True
    busy = made("llama_8b", gpus(1, 24, free=12))[0]
    assert busy.fits is False and busy.why == "weights alone are too large"
    assert made("llama_1b", gpus(1, 24, free=12))[0].flags["gpu_memory_utilization"] == 0.47


def test_old_gpus_calculate_in_float16_and_very_old_ones_not_at_all() -> None:
    assert made("llama_1b", gpus(1, 16, capability=(7, 5)))[0].dtype == "float16"
    oldest = made("llama_1b", gpus(1, 16, capability=(6, 1)))[0]
    assert oldest.fits is None and "capability 7.5" in oldest.why


def test_a_copy_in_fewer_bits_fits_where_the_model_does_not() -> None:
    plain, _, int4 = made("llama_8b", gpus(1, 12))[:3]
    assert (plain.fits, int4.fits, int4.copy) == (False, True, True)
    (asked, *_) = made("llama_8b", gpus(1, 12), Wish(dtype="int4"))
    assert asked.fits is True


def test_adapters_take_their_place() -> None:
    without, slots = (made("llama_8b", gpus(1, 24), Wish(adapters=count, rank=64))[0] for count in (0, 4))
    # q, k, v, o, gate, up and down of 32 layers, 64 x (inputs + outputs) each, in 2 bytes.
    least = 4 * 64 * 2 * 32 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336))
    assert without.adapters == 0 and least <= slots.adapters < 1.2 * least
    assert slots.flags["max_loras"] == 4 and slots.flags["max_lora_rank"] == 64


def test_what_an_engine_cannot_run_is_said() -> None:
    machine = gpus(1, 80)
    assert "fp8 need vLLM" in made("deepseek_v2_lite", machine, quantization_config={"quant_method": "fp8"})[-1].why
    assert "one at a time" in made("jamba", machine)[-1].why
    strange = made("llama_8b", machine, quantization_config={"quant_method": "surprise"})[0]
    assert strange.fits is None and "surprise are not known" in strange.why


def test_a_context_beyond_the_models_own_does_not_fit() -> None:
    plan = made("llama2_7b", gpus(1, 80), Wish(context=5000))[0]
    assert plan.fits is False and plan.why == "its context is 4096 tokens"


def test_a_family_that_the_torch_engine_was_not_seen_to_run_is_not_promised() -> None:
    assert made("llama_1b", gpus(1, 80))[-1].fits is False  # 4 GiB of main memory
    roomy = Machine(64 * GB, 60 * GB, 8)
    assert made("llama_1b", roomy)[-1].fits is True
    for name, why in {"olmoe": "not tried", "gemma3_1b": "windows", "deepseek_v2_lite": "one at a time"}.items():
        refused = made(name, roomy)[-1]
        assert refused.fits is None and why in refused.why


def test_a_cpu_answers_as_many_as_its_cache_holds() -> None:
    plan = made("llama_1b", Machine(64 * GB, 60 * GB, 8), Wish(context=4096, concurrency=5))[-1]
    assert plan.fits is False and plan.why == "it answers 4 such requests at once" and plan.max_concurrency == 4
