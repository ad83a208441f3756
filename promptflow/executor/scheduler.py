"""Run the synchronous steps of a line: one after another where the graph is a chain, at once where it is not."""

from __future__ import annotations

import queue
from collections.abc import Sequence

from promptflow.executor.line import Line
from promptflow.executor.node import run_node
from promptflow.executor.steps import Step
from promptflow.executor.threads import pool


def is_chain(steps: Sequence[Step]) -> bool:
    """Whether no two steps could ever run at the same time."""
    return all(steps[i].name in steps[i + 1].depends for i in range(len(steps) - 1))


def run_chain(steps: Sequence[Step], line: Line) -> None:
    """Run synchronous steps in order, on this thread."""
    for step in steps:
        run_node(step, line)


def run_threads(steps: Sequence[Step], line: Line, concurrency: int) -> None:
    """Run synchronous steps as soon as what they depend on has ended, at most ``concurrency`` at once."""
    waiting = {step.name: step for step in steps}
    done: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()
    running = 0

    def work(step: Step) -> None:
        error: BaseException | None = None
        try:
            run_node(step, line)
        except BaseException as raised:
            error = raised
        done.put((step.name, error))

    while waiting or running:
        for step in [s for s in waiting.values() if is_ready(s, line)]:
            if running >= concurrency:
                break
            del waiting[step.name]
            running += 1
            if not waiting and running == 1:
                work(step)  # nothing else can run: save the thread
            else:
                pool.submit(work, step)
        _, error = done.get()
        running -= 1
        if error is not None:
            raise error


def is_ready(step: Step, line: Line) -> bool:
    """Whether all that the step depends on has ended."""
    return all(name in line.outputs for name in step.depends)
