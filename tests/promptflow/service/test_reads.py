"""The reads of Prompt flow's service, with the names and the values that it gave in 1.18.5."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.promptflow.service.conftest import SECRET, Service

LINE_RUN = {
    "line_run_id", "trace_id", "root_span_id", "inputs", "outputs", "start_time", "end_time", "status", "latency",
    "name", "kind", "cumulative_token_count", "evaluations",
}  # fmt: skip
EVALUATION = LINE_RUN | {"duration", "collection", "run", "line_number", "experiment", "session_id"}
SPAN = {
    "name", "context", "kind", "parent_id", "start_time", "end_time", "status", "attributes", "events", "links",
    "resource", "external_event_data_uris",
}  # fmt: skip


def encoded(path: Path) -> str:
    return base64.urlsafe_b64encode(str(path).encode()).decode()


def test_runs_are_listed_newest_first(service: Service) -> None:
    assert [run["name"] for run in service.get("Runs/")] == ["graded", "said"]
    assert [run["name"] for run in service.get("Runs/?max_results=1")] == ["graded"]
    assert service.get("Runs/?archived_only=true") == []


def test_a_run_is_shown_as_pf_run_show_does(service: Service) -> None:
    run = service.get("Runs/graded")
    assert (run["status"], run["run"], run["flow_name"]) == ("Completed", "said", "grade")
    assert run["properties"]["column_mapping"] == {"answer": "${run.outputs.answer}"}
    assert service.get("Runs/said")["error"]["code"] == "UserError"  # of its second line


def test_the_records_of_lines_and_nodes(service: Service) -> None:
    lines = service.get("Runs/said/childRuns")
    assert [(line["index"], line["status"]) for line in lines] == [(0, "Completed"), (1, "Failed"), (2, "Completed")]
    nodes = service.get("Runs/said/nodeRuns/shout")
    assert [(node["run_id"], node["output"]) for node in nodes] == [
        ("said_shout_0", "HELLO"), ("said_shout_1", None), ("said_shout_2", "YOU"),
    ]  # fmt: skip
    assert [(node["index"], node["output"]) for node in service.get("Runs/graded/nodeRuns/total")] == [(None, 8)]
    assert service.get("Runs/said/nodeRuns/..%5C..") == []


def test_what_else_there_is_of_a_run(service: Service) -> None:
    data = service.get("Runs/graded/metaData")
    assert (data["lineage"], data["metrics"]) == ("said", {"mean": 4.0})
    assert "aggregation: true" in data["dag"]
    assert data["flow_tools_json"]["code"]["total.py"]["function"] == "total"
    assert service.get("Runs/graded/metrics") == {"mean": 4.0}
    assert service.get("Runs/said/metrics") == {}
    assert "said" in service.get("Runs/said/visualize")
    assert "3 / 3 lines, 1 failed" in service.get("Runs/said/logContent")


def test_a_run_is_described_hidden_and_shown(service: Service) -> None:
    form = urlencode({"display_name": "New name", "tags": '{"a": "b"}'}).encode()
    kind = {"content_type": "application/x-www-form-urlencoded"}
    status, run = service.ask("PUT", "Runs/said", form, **kind)
    assert (status, run["display_name"], run["tags"]) == (200, "New name", {"a": "b"})
    assert service.ask("PUT", "Runs/said", b"tags=none", **kind)[0] == 404
    assert service.get("Runs/said/archive")["name"] == "said"
    assert [run["name"] for run in service.get("Runs/")] == ["graded"]
    assert service.get("Runs/said/restore")["name"] == "said"


@pytest.mark.parametrize("path", ["Runs/none", "Runs/none/metrics", "Connections/none", "Spans/Event/none"])
def test_what_is_not_there_is_a_users_error(service: Service, path: str) -> None:
    status, found = service.ask("GET", path)
    assert (status, found["error"]["code"]) == (404, "UserError")
    assert "none" in found["error"]["message"] and found["time"]
    assert found["error"]["error_codes"][0] == "UserError"


def test_line_runs_have_their_evaluations(service: Service) -> None:
    lines = service.get("LineRuns/list?run=said")
    by_text = {line["inputs"]["text"]: line for line in lines}
    assert {(text, line["status"]) for text, line in by_text.items()} == {
        ("hello", "Ok"),
        ("bad", "Error"),
        ("you", "Ok"),
    }
    assert all(set(line) >= LINE_RUN for line in lines)
    assert [line["start_time"] for line in lines] == sorted((line["start_time"] for line in lines), reverse=True)
    evaluations = by_text["hello"]["evaluations"]
    assert {name: one["outputs"] for name, one in evaluations.items()} == {"graded": {"score": 5}}
    assert set(evaluations["graded"]) >= EVALUATION
    assert by_text["bad"]["evaluations"] is None
    assert by_text["hello"]["outputs"] == {"answer": "HELLO"}


def test_line_runs_are_found_by_what_they_are_of(service: Service) -> None:
    every = service.get("LineRuns/list")
    assert len(every) == 6  # three lines, two of them graded, and the grades' total
    assert {line["name"] for line in service.get("LineRuns/list?collection=shout")} == {"shout"}
    assert {line["name"] for line in service.get("LineRuns/list?run=said,graded")} == {"shout", "grade"}
    two = [every[0], every[-1]]
    for key in ("trace_id", "line_run_id"):
        found = service.get(f"LineRuns/list?{key}s={','.join(line[key] for line in two)}")
        assert found == two
    for nothing in (
        "session=none",
        "experiment=none",
        "run=none",
        "collection=none",
        "trace_ids=none",
        "line_run_ids=",
    ):
        assert service.get(f"LineRuns/list?{nothing}") == []


@pytest.mark.parametrize(
    "expression, found",
    [
        ('name == "shout"', 3),
        ('name == "shout" and status == "complete"', 2),
        ('run == "graded" or status != "Ok"', 3),
        ("start_time > '2020-01-01' and kind == 'Flow'", 6),
        ("0 <= total", 0),
    ],
)
def test_line_runs_are_searched(service: Service, expression: str, found: int) -> None:
    assert len(service.get(f"LineRuns/search?expression={quote(expression)}")) == found


def test_a_search_may_be_of_one_run(service: Service) -> None:
    assert len(service.get("LineRuns/search?expression=kind=='Flow'&run=graded")) == 2


@pytest.mark.parametrize("expression", ["bogus", "name = 1", "secret == 1", "name in (1, 2)", "(" * 500, "f(1) == 2"])
def test_a_search_that_is_none_says_so(service: Service, expression: str) -> None:
    status, error = service.ask("GET", f"LineRuns/search?expression={quote(expression)}")
    assert (status, error["error"]["code"]) == (400, "UserError")


def test_collections_newest_first(service: Service) -> None:
    names = [one["name"] for one in service.get("LineRuns/Collections/list")]
    assert names[-1] == "shout" and "grade" in names
    assert service.get("LineRuns/Collections/list?limit=1")[0]["update_time"] > "2020"


def test_spans_come_with_their_events_or_without(service: Service) -> None:
    trace = next(line for line in service.get("LineRuns/list?run=said") if line["status"] == "Error")["trace_id"]
    spans = service.get(f"Spans/list?trace_ids={trace}")
    assert [span["parent_id"] for span in spans] == [None, spans[0]["context"]["span_id"]]
    assert all(set(span) == SPAN and span["context"]["trace_id"] == trace for span in spans)
    assert all(event["attributes"] == {} for span in spans for event in span["events"])
    full = service.get(f"Spans/list?trace_ids={trace}&lazy_load=false")
    failed = next(span for span in full if span["attributes"].get("node_name") == "shout")
    assert failed["status"] == {"status_code": "Error", "description": "ValueError: bad text"}
    for event, uri in zip(failed["events"], failed["external_event_data_uris"], strict=True):
        assert service.get(f"Spans/Event/{uri}") == event
    assert service.get("Spans/list") == service.get("Spans/list?trace_ids=@latest,0x12") == []


def test_connections_are_shown_without_their_secrets(service: Service) -> None:
    listed = service.get("Connections/")
    assert [(one["name"], one["type"]) for one in listed] == [("bag", "custom"), ("model", "open_ai")]
    assert service.get("Connections/bag")["secrets"] == {"key": "******"}
    assert service.get("Connections/model")["api_key"] == "******"
    status, refused = service.ask("GET", "Connections/bag/listsecrets")
    assert (status, refused["error"]["code"]) == (403, "UserError")


def test_connections_are_made_changed_and_forgotten(service: Service) -> None:
    body: dict[str, Any] = {"type": "custom", "configs": {"a": "b"}, "secrets": {"k": SECRET}}
    status, made = service.ask("POST", "Connections/new", body)
    assert (status, made["configs"], made["secrets"]) == (200, {"a": "b"}, {"k": "******"})
    status, changed = service.ask("PUT", "Connections/new", {"configs": {"a": "c"}})
    assert (status, changed["configs"], changed["secrets"]) == (200, {"a": "c"}, {"k": "******"})
    assert service.ask("POST", "Connections/other", {"type": "nonsense"})[0] == 404
    assert service.ask("DELETE", "Connections/new") == (204, "")
    assert service.ask("GET", "Connections/new")[0] == 404


def test_the_specs_of_connections(service: Service) -> None:
    specs = {one["connection_type"]: one["config_specs"] for one in service.get("Connections/specs")}
    azure = {one["name"]: one for one in specs["AzureOpenAIConnection"]}
    assert azure["type"]["default"] == "azure_open_ai"
    assert azure["api_key"] == {"name": "api_key", "optional": False}
    assert azure["api_version"]["default"] == "2024-02-01"
    assert {one["name"] for one in specs["CustomConnection"]} == {"name", "type", "configs", "secrets"}


def test_a_flow_is_tried_once(service: Service) -> None:
    flow = encoded(service.folder / "shout")
    status, answer = service.ask("POST", f"Flows/test?flow={flow}", {"inputs": {"text": "hi"}})
    (run,) = answer["flow"]["detail"]["flow_runs"]
    assert (status, run["status"], run["output"]) == (200, "Completed", {"answer": "HI"})
    assert answer["flow"]["output_path"].startswith(str(service.folder / "shout" / ".promptflow"))
    status, error = service.ask("POST", f"Flows/test?flow={flow}", {"inputs": {"text": "bad"}})
    assert (status, error["error"]["code"]) == (404, "UserError")
    assert "bad text" in error["error"]["message"]


def test_what_a_flow_takes(service: Service) -> None:
    status, answer = service.ask("POST", f"Flows/infer_signature?source={encoded(service.folder / 'shout')}")
    assert (status, answer["inputs"]) == (200, {"text": {"type": "string"}})
    assert service.ask("POST", "Flows/infer_signature?source=%25")[0] == 404
    assert service.ask("POST", f"Flows/test?flow={encoded(Path('/none'))}", {})[0] == 404
    assert service.ask("POST", "Flows/test", {})[0] == 400
    assert service.ask("POST", f"Flows/test?flow={encoded(service.folder / 'shout')}", {"inputs": []})[0] == 400


def test_a_run_is_submitted(service: Service) -> None:
    asked = {"flow": str(service.folder / "shout"), "data": str(service.folder / "data.jsonl"), "name": "sent"}
    status, run = service.ask("POST", "Runs/submit", asked)
    assert (status, run["name"], run["status"]) == (200, "sent", "Completed")
    assert service.ask("POST", "Runs/submit", asked)[1]["error"]["message"].startswith("Run 'sent' already exists")
    assert "relative" in service.ask("POST", "Runs/submit", {**asked, "flow": "shout"})[1]["error"]["message"]
    for wrong in ({}, {"flow": 5}, {**asked, "name": "x", "column_mapping": [1]}):
        assert service.ask("POST", "Runs/submit", wrong)[0] == 404
    assert service.ask("DELETE", "Runs/sent") == (204, "")
    assert service.ask("GET", "Runs/sent")[0] == 404


def test_other_paths_and_methods_are_told(service: Service) -> None:
    for method, path, status in (("GET", "none", 404), ("POST", "Runs/said", 405)):
        code, error = service.ask(method, path)
        assert (code, error["error"]["code"]) == (status, "ServiceError")
