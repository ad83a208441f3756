"""What is told of a vLLM that failed, from the logs that it leaves."""

from __future__ import annotations

import pytest

from serve.engines.vllm_reasons import ending, reasons

AT = "11-21 18:05:10"
REFUSED = f"""\
(APIServer pid=1) ERROR {AT} [serving.py:929] Error in chat completion stream generator.
(APIServer pid=1) ERROR {AT} [serving.py:929] Traceback (most recent call last):
(APIServer pid=1) ERROR {AT} [serving.py:929] RuntimeError: Unsupported type "objekt"
(APIServer pid=1) ERROR {AT} [serving.py:929] vllm.exceptions.VLLMValidationError: no grammar
"""
KILLED = f"""\
(APIServer pid=1) WARNING {AT} [core_client.py:817] [shutdown] MPClient: engine core exited unexpectedly
(APIServer pid=1) ERROR {AT} [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.
"""
FATAL = f"""\
(EngineCore pid=2) ERROR {AT} [core.py:1512] EngineCore encountered a fatal error.
(EngineCore pid=2) ERROR {AT} [core.py:1512] Traceback (most recent call last):
(EngineCore pid=2) ERROR {AT} [core.py:1512] torch.OutOfMemoryError: CUDA out of memory.
"""
UNCAUGHT = "(APIServer pid=1) Traceback (most recent call last):\n(APIServer pid=1) MemoryError: no more\n"
UNSTARTED = f"""\
(EngineCore pid=7) ERROR {AT} [core.py:133] ValueError: No available memory for the cache blocks.
(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above.
"""


@pytest.mark.parametrize(
    ("log", "served", "told"),
    [
        (REFUSED, True, []),
        (REFUSED + KILLED, True, []),
        (REFUSED + FATAL + KILLED, True, ["torch.OutOfMemoryError: CUDA out of memory."]),
        (REFUSED + UNCAUGHT, True, ["MemoryError: no more"]),
        (UNSTARTED, False, ["ValueError: No available memory for the cache blocks.",
                            "RuntimeError: Engine core initialization failed. See root cause above."]),
        ("", True, []),
    ],
)  # fmt: skip
def test_only_what_ended_it_is_the_reason(log: str, served: bool, told: list[str]) -> None:
    assert reasons(log, served) == told


def test_the_end_is_without_the_noise_of_libraries() -> None:
    noise = 'nanobind: leaked 3 functions!\n - leaked function "run"\n - ... skipped remainder\n' * 10
    assert ending("".join(f"line {at}\n" for at in range(20)) + noise).splitlines() == [
        f"line {at}" for at in range(5, 20)
    ]
