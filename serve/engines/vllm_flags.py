"""A model, a machine and what is asked for -> the command line of a vLLM server. Nothing is started here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from catalog.facts import facts_of_folder
from catalog.fit import Fit, predict
from catalog.machine import Machine
from catalog.memory import GIB
from catalog.plans import TYPICAL, Plan, Wish
from promptflow.exceptions import UserErrorException, ValidationException
from serve.engines.chat import read_template
from serve.engines.json_file import read_json

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has kernels for; an adapter of rank 4 takes the room of 8
SLOTS = 4  # adapters in one batch, where nobody says
CPU_SHARE, CPU_MOST = 0.25, 16  # of the free memory, and GiB, for the KV cache of a model on the processor
CPU_ROWS = 256  # requests at once, where nobody says
NAME = re.compile(r"[a-z][a-z0-9_-]*")
# Ours to say: where it listens, what it is called, and that no code of a model runs.
OURS = frozenset({
    "model", "served_model_name", "host", "port", "uds", "api_key", "root_path", "ssl_keyfile", "ssl_certfile",
    "trust_remote_code", "hf_token", "config", "middleware", "tool_parser_plugin", "reasoning_parser_plugin",
    "worker_extension_cls", "logits_processors", "allowed_local_media_path", "download_dir", "enable_lora",
    "lora_modules", "max_loras", "max_lora_rank", "max_cpu_loras", "enable_sleep_mode", "runner", "headless",
})  # fmt: skip
# Blanks that JSON allows anywhere are where small models lose themselves; "auto", the default, cannot leave them out,
# and "guidance" cannot force calls of tools (seen with 0.32).
GUIDED = {"backend": "xgrammar", "disable_any_whitespace": True}
# Parser of tool calls, by what is found in the model's chat template; the first that is found counts.
PARSERS = (
    (("<tool_call>", "<function="), "qwen3_coder"),
    (("<tool_call>",), "hermes"),
    (("[TOOL_CALLS]",), "mistral"),
    (("<|python_tag|>",), "llama3_json"),
    (('"parameters": dictionary of argument',), "llama3_json"),
    (("<|channel|>", "functions."), "openai"),
    (("<\uff5ctool\u2581calls\u2581begin\uff5c>",), "deepseek_v3"),
)


class NoFitError(UserErrorException):
    """The model does not fit this machine."""

    http_status = 503


@dataclass(frozen=True)
class Lora:
    """Room for adapters: ``slots`` of them in one batch, of up to ``rank``. None at all where ``slots`` is 0."""

    slots: int = 0
    rank: int = 16

    def holds(self, rank: int) -> bool:
        return self.slots > 0 and rank <= self.rank

    def with_rank(self, rank: int) -> Lora:
        return Lora(self.slots or SLOTS, rank if not self.slots else max(self.rank, rank))

    def flags(self, spare: int = 0) -> dict[str, Any]:
        """``spare`` slots are for ourselves."""
        if not self.slots:
            return {}
        rank = next((known for known in RANKS if known >= self.rank), 0)
        if not rank:
            raise ValidationException(f"vLLM runs adapters of rank {RANKS[-1]} at most, not {self.rank}.")
        slots = self.slots + spare
        return {"enable_lora": True, "max_loras": slots, "max_lora_rank": rank, "max_cpu_loras": 8 * slots}


@dataclass(frozen=True)
class Asked:
    """What the owner wants. 0 leaves ``context`` and ``concurrency`` to the plan; ``flags`` are vLLM's own."""

    context: int = 0
    concurrency: int = 0
    sleep: bool = False
    flags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """How a server is started: ``flags`` of its command line, ``environ`` beside it. ``weights`` are the bytes that
    they are thought to take."""

    flags: Mapping[str, Any]
    environ: Mapping[str, str] = field(default_factory=dict)
    weights: int = 0


def start_for(folder: Path, task: str, gpu: bool, machine: Machine, asked: Asked, lora: Lora = Lora()) -> Start:  # noqa: B008 - frozen
    """For a model that is made for ``task``. NoFitError where it is certain that it would not run."""
    check(asked.flags)
    facts = facts_of_folder(folder)
    if facts.weights and facts.weights.unread:  # vLLM itself would unpickle them
        raise ValidationException(f"The model in {folder} is not loaded: {facts.weights.unread}.")
    wish = Wish(asked.context, asked.concurrency or 1, adapters=lora.slots, rank=lora.rank)
    seen = predict(facts.config, facts.weights, machine if gpu else replace(machine, gpus=()), wish)
    start = _on_gpu(seen, asked, folder) if gpu else _on_cpu(seen, machine, asked)
    flags = {**start.flags, **_of_task(task, folder), **lora.flags(0 if gpu else 1)}
    if asked.sleep and gpu:
        flags["enable_sleep_mode"] = True
    return replace(start, flags={**flags, "disable_uvicorn_access_log": True, **asked.flags})


def _on_gpu(seen: Fit, asked: Asked, folder: Path) -> Start:
    """As the plan says; of a model of an unknown family vLLM finds out itself."""
    plan = next((plan for plan in seen.plans if plan.engine == "vllm" and not plan.copy), None)
    if plan is None or plan.fits is None:
        return Start({"max_model_len": asked.context or None, "max_num_seqs": asked.concurrency or None})
    if not plan.fits and (asked.context or asked.concurrency or not plan.max_context):
        raise NoFitError(_why(plan, folder), hint="pf catalog fit MODEL --all says what would fit")
    flags = dict(plan.flags)
    # Requests share the cache page by page: room for one long one takes nothing from the others.
    flags["max_model_len"] = asked.context or min(plan.max_context, seen.context or TYPICAL)
    if asked.concurrency:
        flags["max_num_seqs"] = asked.concurrency
    return Start(flags, weights=plan.weights)


def _on_cpu(seen: Fit, machine: Machine, asked: Asked) -> Start:
    """Without compiling, which takes longer than what it is used for here."""
    cache = max(1, min(CPU_MOST, int(CPU_SHARE * machine.available / GIB)))
    room = int(0.9 * cache * GIB / seen.cache_per_token) if seen.cache_per_token else TYPICAL
    length = asked.context or min(seen.context or TYPICAL, TYPICAL, room)
    if seen.cache_per_token:  # no more than all requests at their longest take
        used = (asked.concurrency or CPU_ROWS) * length * seen.cache_per_token
        cache = min(cache, max(1, -(-used // GIB)))
    whole = "F32" in seen.weights.numbers and len(seen.weights.numbers) == 1
    flags = {
        "dtype": "float32" if whole else "bfloat16",
        "max_model_len": length,
        "max_num_seqs": asked.concurrency or CPU_ROWS,
        "enforce_eager": True,
    }
    return Start(flags, {"VLLM_CPU_KVCACHE_SPACE": str(cache)}, seen.weights.stored)


def _of_task(task: str, folder: Path) -> dict[str, Any]:
    if task not in ("generate", "see"):
        return {"runner": "pooling"}
    parser = parser_of(folder)
    tools = {"enable_auto_tool_choice": True, "tool_call_parser": parser} if parser else {}
    return {"runner": "generate", "structured_outputs_config": GUIDED, **tools}


def parser_of(folder: Path) -> str:
    """Which of vLLM's parsers reads the tool calls of a model; empty where its template tells of none."""
    settings = read_json(folder / "tokenizer_config.json")
    template = read_template(folder, settings, with_tools=True)
    return next((parser for marks, parser in PARSERS if all(mark in template for mark in marks)), "")


def check(flags: Mapping[str, Any]) -> None:
    """ValidationException for what is no flag, or not the user's to set."""
    for name in flags:
        if not NAME.fullmatch(name):
            raise ValidationException(f"'{name}' is no flag of vLLM.", hint="--option max_num_seqs=64")
        if name.replace("-", "_") in OURS:
            raise ValidationException(f"vLLM's '{name}' is not set by hand here.", hint="docs/vllm.md says which are")


def command_line(flags: Mapping[str, Any]) -> list[str]:
    """``max_model_len=8192`` as ``--max-model-len 8192``. True and False are ``--name`` and ``--no-name``, None is
    left out, lists are several words, and mappings are JSON."""
    words = []
    for name, value in flags.items():
        flag = name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            words += [f"--{flag}", *map(str, value)]
        elif isinstance(value, Mapping):
            words.append(f"--{flag}={json.dumps(value)}")
        else:
            words.append(f"--{flag}={value}")  # one word: a value may begin with a dash
    return words


def _why(plan: Plan, folder: Path) -> str:
    gib = 1 / GIB
    told = plan.why or f"it needs {plan.needed * gib:.1f} GiB and {plan.available * gib:.1f} GiB are free"
    return f"The model in {folder} does not fit the GPU as asked: {told}."
