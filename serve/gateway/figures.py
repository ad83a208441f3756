"""What the gateway counts, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from serve.gateway.route import Route
from serve.metrics import Histogram, Labels, Metrics


class Figures:
    """Counted per endpoint and deployment; a request costs two look-ups."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds: dict[tuple[str, str], Histogram] = {}
        self.retries: Counter[tuple[str, str]] = Counter()
        self.mirrored: Counter[tuple[str, str, str]] = Counter()
        self.restarts: Counter[tuple[str, str]] = Counter()

    def count(self, endpoint: str, deployment: str, status: int, seconds: float) -> None:
        self.requests[endpoint, deployment, status] += 1
        known = self.seconds.get((endpoint, deployment))
        if known is None:
            known = self.seconds[endpoint, deployment] = Histogram()
        known.observe(seconds)

    def forget(self, names: Iterable[str]) -> None:
        """Endpoints that are no more: their figures would grow without end."""
        gone = {*names}
        _forget(self.requests, gone)
        _forget(self.seconds, gone)
        _forget(self.retries, gone)
        _forget(self.mirrored, gone)
        _forget(self.restarts, gone)

    def text(self, routes: Mapping[str, Route]) -> str:
        metrics = Metrics()
        for (endpoint, deployment, status), count in self.requests.items():
            metrics.add(
                "pf_endpoint_requests_total", "Requests answered.", count,
                endpoint=endpoint, deployment=deployment, status=str(status),
            )  # fmt: skip
        for name, help, counts in (
            ("pf_endpoint_retries_total", "Requests asked again because their instance died.", self.retries),
            ("pf_endpoint_restarts_total", "Instances that ended by themselves.", self.restarts),
        ):
            for (endpoint, deployment), count in counts.items():
                metrics.add(name, help, count, endpoint=endpoint, deployment=deployment)
        for (endpoint, deployment, outcome), count in self.mirrored.items():
            metrics.add(
                "pf_endpoint_mirrored_total", "Copies of requests.", count,
                endpoint=endpoint, deployment=deployment, outcome=outcome,
            )  # fmt: skip
        for route in routes.values():
            for name, capture in route.captures.items():
                metrics.add(
                    "pf_endpoint_captures_dropped_total", "Captured requests that were not kept.", capture.dropped,
                    endpoint=route.name, deployment=name,
                )  # fmt: skip
        for (endpoint, deployment), histogram in self.seconds.items():
            labels = {"endpoint": endpoint, "deployment": deployment}
            metrics.histogram("pf_endpoint_request_seconds", "Time of a request.", histogram, **labels)
        return metrics.text(_gauges(routes))


def _forget(table: dict[Any, Any], gone: set[str]) -> None:
    for key in [key for key in table if key[0] in gone]:
        del table[key]


def _gauges(routes: Mapping[str, Route]) -> dict[str, tuple[str, dict[Labels, float]]]:
    ready: dict[Labels, float] = {}
    in_flight: dict[Labels, float] = {}
    in_line: dict[Labels, float] = {}
    for route in routes.values():
        for name, lane in route.lanes.items():
            labels = (("endpoint", route.name), ("deployment", name))
            ready[labels] = sum(instance.ready for instance in lane.instances)
            in_flight[labels], in_line[labels] = lane.in_flight, lane.in_line
    return {
        "pf_endpoint_instances_ready": ("Instances that take requests.", ready),
        "pf_endpoint_in_flight": ("Requests in the hands of instances.", in_flight),
        "pf_endpoint_in_line": ("Requests that wait for an instance.", in_line),
    }
