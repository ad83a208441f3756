"""Numbers for Prometheus, as text in its exposition format 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


@dataclass
class Histogram:
    """How many observations are not above each bound, and their sum."""

    bounds: tuple[float, ...] = SECONDS
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def observe(self, value: float) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: Labels) -> Iterator[str]:
        running = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            yield f"{name}_bucket{_braced((*labels, ('le', bound)))} {running}"
        yield f"{name}_sum{_braced(labels)} {self.sum:.6f}"
        yield f"{name}_count{_braced(labels)} {running}"


class Metrics:
    """Counters and histograms by name and labels. Changed on one event loop only."""

    def __init__(self) -> None:
        self._help: dict[str, tuple[str, str]] = {}
        self._counters: dict[str, dict[Labels, float]] = defaultdict(dict)
        self._histograms: dict[str, dict[Labels, Histogram]] = defaultdict(dict)

    def add(self, name: str, help: str, value: float = 1, **labels: str) -> None:
        self._help.setdefault(name, ("counter", help))
        key = tuple(labels.items())
        known = self._counters[name]
        known[key] = known.get(key, 0) + value

    def observe(self, name: str, help: str, value: float, **labels: str) -> None:
        self._help.setdefault(name, ("histogram", help))
        known, key = self._histograms[name], tuple(labels.items())
        if key not in known:
            known[key] = Histogram()
        known[key].observe(value)

    def histogram(self, name: str, help: str, histogram: Histogram, **labels: str) -> None:
        """One that the caller has kept."""
        self._help.setdefault(name, ("histogram", help))
        self._histograms[name][tuple(labels.items())] = histogram

    def text(self, gauges: Mapping[str, tuple[str, Mapping[Labels, float]]] | None = None) -> str:
        """All of it; ``gauges`` are name -> (help, value by labels), measured by the caller just now."""
        lines: list[str] = []
        for name, (kind, help) in sorted(self._help.items()):
            lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
            for labels, value in self._counters[name].items() if kind == "counter" else ():
                lines.append(
                    f"{name}{_braced(labels)} {value:g}" if value < 1e6 else f"{name}{_braced(labels)} {value:.0f}"
                )
            for labels, histogram in self._histograms[name].items() if kind == "histogram" else ():
                lines += histogram.lines(name, labels)
        for name, (help, values) in (gauges or {}).items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_braced(labels)} {value}" for labels, value in values.items()]
        return "\n".join(lines) + "\n"


def _braced(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
