"""What Prompt flow's service answered, on the port of the server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from promptflow._version import __version__
from tests.serve.supervisor.world import World, world

NANO = 1_700_000_000_000_000_000
GRADED, GRADE = "11" * 16, "22" * 16


def exported(trace: str, name: str, experiment: str = "", **attributes: str) -> dict[str, Any]:
    """A request of OpenTelemetry's, of a trace with one span."""
    listed = [{"key": key.replace("__", "."), "value": {"stringValue": text}} for key, text in attributes.items()]
    span = {
        "traceId": trace, "spanId": trace[:16], "name": name, "startTimeUnixNano": str(NANO),
        "endTimeUnixNano": str(NANO + 5_000_000), "attributes": listed, "status": {"code": 1},
    }  # fmt: skip
    of = [{"key": "experiment.name", "value": {"stringValue": experiment}}] if experiment else []
    resource = {"attributes": [{"key": "collection", "value": {"stringValue": "mine"}}, *of]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}


async def ask(it: World, path: str, body: Any = None) -> tuple[int, Any]:
    method, headers = ("POST", {"content-type": "application/json"}) if body else ("GET", {})
    url = f"http://127.0.0.1:{it.port}{path}"
    async with it.session.request(method, url, json=body, headers=headers) as answer:
        return answer.status, json.loads(await answer.read())


def test_it_is_there_beside_the_gateway(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            assert await ask(it, "/heartbeat") == (200, {"promptflow": __version__})
            assert await ask(it, "/v1.0/Runs/") == (200, [])
            assert (await ask(it, "/v1.0/none"))[0] == 404
            headers = {"Host": "evil.example"}
            async with it.session.get(f"http://127.0.0.1:{it.port}/v1.0/Runs/", headers=headers) as answer:
                assert answer.status == 403

    asyncio.run(play())


def test_traces_that_are_sent_in_are_line_runs(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            inputs = json.dumps({"q": 1})
            assert (await ask(it, "/v1/traces", exported(GRADED, "ask", "first", inputs=inputs)))[0] == 200
            named = exported(GRADE, "grade", referenced__line_run_id=f"0x{GRADED}")
            assert (await ask(it, "/v1/traces", named))[0] == 200
            _, lines = await ask(it, f"/v1.0/LineRuns/list?trace_ids=0x{GRADED}")
            (line,) = lines
            assert (line["name"], line["inputs"], line["latency"]) == ("ask", {"q": 1}, "0.005000")
            assert line["start_time"] == "2023-11-14T22:13:20"
            assert {name: one["name"] for name, one in line["evaluations"].items()} == {"grade": "grade"}
            assert await ask(it, "/v1.0/LineRuns/list?experiment=first") == (200, lines)
            _, spans = await ask(it, f"/v1.0/Spans/list?trace_ids={GRADED}")
            assert spans[0]["resource"]["attributes"]["experiment.name"] == "first"

    asyncio.run(play())
