"""Server-sent events: only when asked for by name; from generators of every kind; ended when nobody listens."""

import json
import threading
import time

import httpx
import pytest

from tests.promptflow.flowkit import dag, write

DAG = """
inputs: {text: {type: string, default: "Hello World!"}}
outputs:
  echo: {type: string, reference: "${words.output}"}
  size: {type: int, reference: "${count.output}"}
nodes:
- {name: words, type: python, source: {type: code, path: words.py}, inputs: {text: "${inputs.text}"}}
- {name: count, type: python, source: {type: code, path: count.py}, inputs: {text: "${inputs.text}"}}
"""
COUNT = "from promptflow.core import tool\n@tool\ndef count(text): return len(text)\n"
SYNC = "from promptflow.core import tool\n@tool\ndef words(text):\n    for w in text.split(): yield w + ' '\n"
ASYNC = """
from promptflow.core import tool
@tool
async def words(text):
    for w in text.split():
        yield w + ' '
"""
FLEX = "entry: m:run\n"
EVENTS = {"accept": "text/event-stream"}


def kinds(tmp_path, kind):
    match kind:
        case "sync node":
            return dag(tmp_path, DAG, words_py=SYNC, count_py=COUNT)
        case "async node":
            return dag(tmp_path, DAG, words_py=ASYNC, count_py=COUNT)
        case "flex fields":
            code = "def words(t):\n    yield from (w + ' ' for w in t.split())\ndef run(text: str = 'Hello World!'):\n"
            return write(
                tmp_path, flow_flex_yaml=FLEX, m_py=code + "    return {'echo': words(text), 'size': len(text)}\n"
            )
        case "flex async fields":
            code = "async def words(t):\n    for w in t.split(): yield w + ' '\ndef run(text: str = 'Hello World!'):\n"
            return write(
                tmp_path, flow_flex_yaml=FLEX, m_py=code + "    return {'echo': words(text), 'size': len(text)}\n"
            )


KINDS = ["sync node", "async node", "flex fields", "flex async fields"]


@pytest.mark.parametrize("kind", KINDS)
def test_other_fields_come_first_then_an_event_for_each_item(serve, tmp_path, kind):
    client = serve(kinds(tmp_path, kind))

    response = client.post("/score", json={}, headers=EVENTS)

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.text == 'data: {"size": 12}\n\ndata: {"echo": "Hello "}\n\ndata: {"echo": "World! "}\n\n'
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "accept, status, media",
    [
        ("text/event-stream", 200, "text/event-stream; charset=utf-8"),
        ("Text/Event-Stream;q=0.9", 200, "text/event-stream; charset=utf-8"),
        ("text/event-stream, application/json", 200, "text/event-stream; charset=utf-8"),
        ("text/html", 406, "application/json"),
        ("text/*", 406, "application/json"),
        ("text/event-stream;q=0", 406, "application/json"),
        ("application/json", 200, "application/json"),
        ("application/json; charset=utf-8", 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("", 200, "application/json"),
    ],
)
def test_what_accept_asks_for_is_what_comes(serve, tmp_path, kind, accept, status, media):
    response = serve(kinds(tmp_path, kind)).post("/score", json={}, headers={"accept": accept})

    assert (response.status_code, response.headers["content-type"]) == (status, media)
    if status == 406:
        assert response.json()["error"]["code"] == "UserError"
    elif media == "application/json":
        assert response.json() == {"echo": "Hello World! ", "size": 12}


def test_a_flow_that_does_not_stream_cannot_answer_in_events_only(serve, tmp_path):
    client = serve(dag(tmp_path, DAG, words_py=COUNT.replace("count(", "words("), count_py=COUNT))

    assert client.post("/score", json={}, headers=EVENTS).status_code == 406
    both = client.post("/score", json={}, headers={"accept": "text/event-stream, application/json"})
    assert both.json() == {"echo": 12, "size": 12}


@pytest.mark.parametrize("word", ["def", "async def"])
def test_a_generator_as_the_whole_answer_is_called_output(serve, tmp_path, word):
    client = serve(write(tmp_path, flow_flex_yaml=FLEX, m_py=f"{word} run():\n    yield 'é'\n    yield 2\n"))

    assert client.post("/score", headers=EVENTS).text == 'data: {"output": "é"}\n\ndata: {"output": 2}\n\n'
    assert client.post("/score").json() == "é2"


def test_two_streams_in_one_answer_are_refused_and_closed(serve, tmp_path):
    code = """
        closed = []
        def words(n):
            try:
                yield n
            finally:
                closed.append(n)
        def run(ask: bool = False):
            return {"closed": list(closed)} if ask else {"a": words(1), "b": words(2)}
    """
    client = serve(write(tmp_path, flow_flex_yaml=FLEX, m_py=code))

    refused = client.post("/score", json={}, headers=EVENTS)

    assert refused.status_code == 400 and "a, b" in refused.json()["error"]["message"]
    assert client.post("/score", json={}).json() == {"a": "1", "b": "2"}


def test_an_error_on_the_way_is_the_last_event(serve, tmp_path):
    client = serve(
        write(tmp_path, flow_flex_yaml=FLEX, m_py="def run():\n    yield 'a'\n    raise ValueError('late')\n")
    )

    events = client.post("/score", headers=EVENTS).text.split("\n\n")

    assert events[0] == 'data: {"output": "a"}'
    error = json.loads(events[1].removeprefix("data: "))["error"]
    assert error["code"] == "UserError" and "(ValueError) late" in error["message"]


def test_items_are_sent_as_they_are_made(serve, tmp_path):
    code = """
        import threading
        go = threading.Event()
        def run(release: bool = False):
            if release:
                go.set()
                return "released"
            return words()
        def words():
            yield "first"
            assert go.wait(20)
            yield "second"
    """
    client = serve(write(tmp_path, flow_flex_yaml=FLEX, m_py=code))

    with client.stream("POST", "/score", json={}, headers=EVENTS) as response:
        lines = response.iter_lines()
        assert next(lines) == 'data: {"output": "first"}'
        assert client.post("/score", json={"release": True}).json() == "released"
        assert [line for line in lines if line] == ['data: {"output": "second"}']


HANGING = {
    "sync generator": """
        def run(log: str):
            return words(log)
        def words(log):
            import time
            try:
                while True:
                    yield "x"
                    time.sleep(0.01)
            finally:
                __import__("pathlib").Path(log).write_text("closed")
    """,
    "async generator": """
        import asyncio
        async def run(log: str):
            try:
                while True:
                    yield "x"
                    await asyncio.sleep(0.01)
            finally:
                __import__("pathlib").Path(log).write_text("closed")
    """,
    "async generator that waits": """
        import asyncio
        async def run(log: str):
            try:
                yield "x"
                await asyncio.sleep(60)
            finally:
                __import__("pathlib").Path(log).write_text("closed")
    """,
    "sync node": None,
    "async node": None,
}


@pytest.mark.parametrize("kind", list(HANGING))
def test_a_client_that_hangs_up_ends_the_stream(serve, tmp_path, kind):
    log = tmp_path / "log"
    if HANGING[kind]:
        flow = write(tmp_path / "flow", flow_flex_yaml=FLEX, m_py=HANGING[kind])
    else:
        sleep = "time.sleep(0.01)" if kind == "sync node" else "await asyncio.sleep(0.01)"
        code = f"""
from promptflow.core import tool
import asyncio, pathlib, time
@tool
{"async " if kind == "async node" else ""}def words(text):
    try:
        while True:
            yield 'x'
            {sleep}
    finally:
        pathlib.Path(text).write_text('closed')
"""
        flow = dag(tmp_path / "flow", DAG, words_py=code, count_py=COUNT)
    client = serve(flow)

    body = {"log": str(log)} if HANGING[kind] else {"text": str(log)}
    with client.stream("POST", "/score", json=body, headers=EVENTS) as response:
        assert any('"x"' in line for line in response.iter_lines())

    assert until(log.exists)


def test_a_client_that_hangs_up_cancels_async_code(serve, tmp_path):
    code = """
        import asyncio, pathlib
        async def run(log: str):
            log = pathlib.Path(log)
            log.write_text("begun")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                log.write_text("cancelled")
                raise
    """
    log = tmp_path / "log"
    client = serve(write(tmp_path / "flow", flow_flex_yaml=FLEX, m_py=code))

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(client.base_url.join("/score"), json={"log": str(log)}, timeout=0.5)

    assert until(lambda: log.exists() and log.read_text() == "cancelled")


def test_a_client_that_hangs_up_ends_a_chain_before_its_next_node(serve, tmp_path):
    yaml = """
inputs: {log: {type: string}}
outputs: {o: {type: string, reference: "${b.output}"}}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {log: "${inputs.log}"}}
- {name: b, type: python, source: {type: code, path: b.py}, inputs: {log: "${inputs.log}", x: "${a.output}"}}
"""
    code = "import pathlib, time\nfrom promptflow.core import tool\n@tool\ndef {0}(log, x=None):\n"
    a = code.format("a") + "    time.sleep(1)\n    pathlib.Path(log).write_text('a')\n"
    b = code.format("b") + "    pathlib.Path(log).write_text('b')\n"
    log = tmp_path / "log"
    client = serve(dag(tmp_path / "flow", yaml, a_py=a, b_py=b))

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(client.base_url.join("/score"), json={"log": str(log)}, timeout=0.3)
    assert until(log.exists)
    client.post("/score", json={"log": str(tmp_path / "other")})

    assert log.read_text() == "a"


@pytest.mark.parametrize("code", ["def run():\n    time.sleep(1.5)\n", "async def run():\n    time.sleep(1.5)\n"])
def test_code_that_blocks_does_not_keep_a_health_check_waiting(serve, tmp_path, code):
    client = serve(write(tmp_path, flow_flex_yaml=FLEX, m_py="import time\n" + code))
    thread = threading.Thread(target=client.post, args=("/score",))
    thread.start()
    time.sleep(0.2)

    assert client.get("/health", timeout=1).json()["status"] == "Healthy"
    assert thread.is_alive()
    thread.join()


def until(true, seconds=15):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()
