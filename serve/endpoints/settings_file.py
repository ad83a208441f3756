"""Sections of a deployment's YAML: requests, probes, scale, data collector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serve.endpoints.fields import Fields
from serve.endpoints.spec import FLOW, LLM, Collection, Collector, Probe, RequestSettings, Spec

IDLE_SECONDS = 300.0  # after so long without requests, where scaling to zero is asked for without a time
_DAY_MS = 86_400_000
# Of a script or a model as in the cloud; of a flow or an LLM, whose answers take their time and are many at once:
_DEFAULTS = {FLOW: RequestSettings(300.0, 16, 5.0), LLM: RequestSettings(600.0, 64, 30.0)}
_MOST_INSTANCES = 1000


def read_request(fields: Fields) -> dict[str, float]:
    """What is said of requests: fields of `RequestSettings`."""
    section = fields.section("request_settings")
    found: dict[str, float] = {}
    if section.has("request_timeout_ms"):
        found["timeout"] = section.whole("request_timeout_ms", 5000, 1, _DAY_MS) / 1000
    if section.has("max_concurrent_requests_per_instance"):
        found["concurrency"] = section.whole("max_concurrent_requests_per_instance", 1, 1, 100_000)
    if section.has("max_queue_wait_ms"):
        found["queue_wait"] = section.whole("max_queue_wait_ms", 500, 0, _DAY_MS) / 1000
    section.end("'request_settings'")
    return found


def settle(spec: Spec, request: Mapping[str, float], percent: int) -> Spec:
    """With what its kind has where nothing is said: of requests, and how many at once are enough for an instance."""
    settings = replace(_DEFAULTS.get(spec.kind, RequestSettings()), **request)  # type: ignore[arg-type]
    target = spec.target_in_flight or max(1.0, settings.concurrency * percent / 100)
    return replace(spec, request=settings, target_in_flight=target)


def read_probe(section: Fields) -> Probe:
    default = Probe()
    probe = Probe(
        section.number("initial_delay", default.initial_delay),
        section.number("period", default.period, 0.1),
        section.number("timeout", default.timeout, 0.1),
        section.whole("success_threshold", default.success, 1),
        section.whole("failure_threshold", default.failure, 1),
    )
    section.keep("scheme", "method", "path", "port")
    section.end("A probe")
    return probe


def read_scale(fields: Fields) -> tuple[dict[str, Any], int]:
    """The fields of a Spec that say how many instances there are, and how busy each is to be in percent.

    ``target_in_flight`` is 0 where that percentage decides on it."""
    count = fields.whole("instance_count", 1, 1, _MOST_INSTANCES)
    section = fields.section("scale_settings")
    kind = section.choice("type", "default", ("default", "target_utilization"))
    fixed = kind == "default" and not section.has("min_instances") and not section.has("max_instances")
    low = section.whole("min_instances", count if fixed else min(count, 1), 0, _MOST_INSTANCES)
    high = section.whole("max_instances", max(count, low), 1, _MOST_INSTANCES)
    if low > high:
        section.problem("min_instances", f"'min_instances' is {low}, and 'max_instances' {high}.")
    elif fields.has("instance_count") and not low <= count <= high:
        section.findings.warn(
            (*fields.path, "instance_count"), f"'instance_count' is {count}, and 'scale_settings' from {low} to {high}"
        )
    percent = section.whole("target_utilization_percentage", 70, 1, 100)
    in_flight = section.number("target_in_flight", 0.0, 0.01)
    idle = section.number("idle_seconds", 0.0 if low else IDLE_SECONDS)
    section.keep("polling_interval")
    section.end("'scale_settings'")
    found = {
        "instance_count": min(max(count, low), high),
        "min_instances": low,
        "max_instances": high,
        "target_in_flight": in_flight,
        "idle_seconds": idle,
    }
    return found, percent


def read_collector(fields: Fields) -> Collector | None:
    section = fields.section("data_collector")
    if not section.data:
        return None
    collections = section.section("collections")
    found = {name: _collection(collections.section(name)) for name in collections.data}
    logging = section.section("request_logging")
    collector = Collector(
        found,
        section.number("sampling_rate", 1.0, 0.0, 1.0),
        section.choice("rolling_rate", "hour", ("minute", "hour", "day", "month", "year")),
        tuple(header.lower() for header in logging.items("capture_headers")),
    )
    logging.end("'request_logging'")
    section.keep("destination")
    section.end("'data_collector'")
    return collector


def _collection(fields: Fields) -> Collection:
    data = fields.section("data") if isinstance(fields.data.get("data"), Mapping) else None
    enabled = fields.truth("enabled", True)
    reference = "" if data is not None else fields.text("data")
    name, _, version = reference.removeprefix("azureml:").partition(":")
    fields.keep("client_id", "sampling_rate")
    fields.end("A collection")
    if data is None:
        return Collection(enabled, name, version)
    found = Collection(enabled, data.text("name"), data.text("version"), data.text("path"))
    data.keep("data_id")
    data.end("'data'")
    return found
