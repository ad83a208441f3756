"""What progress says: pure functions from counts to text."""

from __future__ import annotations

from promptflow.batch.pace import Pace
from promptflow.batch.result import BatchResult

_LONGEST_BAR = 40
_SHORTEST_BAR = 5


def describe(result: BatchResult, pace: Pace) -> str:
    """`34/100 rows, 2 failed, 5 reused, 12.3 rows/s, 410 tokens/s, 5 s left, slowest: ask 1.2 s`."""
    return ", ".join([f"{result.ended_lines}/{result.total_lines} rows", *_counts(result), *_rates(result, pace)])


def block(result: BatchResult, pace: Pace, width: int, unicode: bool) -> list[tuple[str, str]]:
    """Lines no wider than ``width``, each with its colour: a bar with counts, then rates as far as they fit."""
    share = result.ended_lines / max(1, result.total_lines)
    head = f"{result.ended_lines}/{result.total_lines} rows {share:4.0%}"
    counts = "".join(f"  {part}" for part in _counts(result))
    room = min(_LONGEST_BAR, width - len(head) - len(counts) - 2)
    bar = f"  {_bar(share, room, unicode)}" if room >= _SHORTEST_BAR else ""
    first = _fitted([head + bar, *_counts(result)], width)
    second = _fitted(_rates(result, pace), width)
    shade = "yellow" if result.failed_lines else "green"
    return [(first, shade), *([(second, "dim")] if second else [])]


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _counts(result: BatchResult) -> list[str]:
    counts = {
        "failed": result.failed_lines,
        "reused": result.reused_lines,
        "cached nodes": result.cached_nodes,
        "throttled calls": result.throttled_calls,
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


def _rates(result: BatchResult, pace: Pace) -> list[str]:
    """Most important first."""
    parts = [f"{pace.lines:.1f} rows/s"] if pace.lines else []
    if pace.seconds_left is not None and result.ended_lines < result.total_lines:
        parts.append(f"{duration(pace.seconds_left)} left")
    if pace.tokens:
        parts.append(f"{pace.tokens:.0f} tokens/s")
    if (slowest := result.slowest_node) is not None and slowest[1] >= 0.001:
        parts.append(f"slowest: {slowest[0]} {_short(slowest[1])}")
    return parts


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _bar(share: float, width: int, unicode: bool) -> str:
    done = int(share * width)
    full, empty = ("━", "─") if unicode else ("#", "-")
    return full * done + empty * (width - done)


def _fitted(parts: list[str], width: int) -> str:
    """The first parts that fit, with two spaces between them; a first one that is too wide is cut."""
    text = parts[0][:width] if parts else ""
    for part in parts[1:]:
        if len(text) + 2 + len(part) > width:
            break
        text += f"  {part}"
    return text
