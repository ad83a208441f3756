"""POST /score over real HTTP: bodies in, outputs and errors out."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from promptflow._version import __version__
from promptflow.exceptions import UserErrorException
from tests.promptflow.flowkit import dag, write

ONE = """
inputs: {x: {type: string, default: dx}}
outputs: {o: {type: string, reference: "${a.output}"}}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}"}}
"""
MARK = "from promptflow.core import tool\n@tool\ndef a(x): return f'<{x}>'\n"
TWO = """
inputs: {x: {type: int}, y: {type: string, default: why}}
outputs:
  o: {type: int, reference: "${a.output}"}
  inner: {type: string, reference: "${inputs.y}", evaluation_only: true}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}", y: "${inputs.y}"}}
"""
ADD = "from promptflow.core import tool\n@tool\ndef a(x: int, y): return x + len(y)\n"


@pytest.mark.parametrize(
    "body, answer",
    [
        ('{"x": "s"}', "<s>"),
        ('{"x": "s", "extra": 1}', "<s>"),
        ("{}", "<dx>"),
        ("", "<dx>"),
        ("not json", "<not json>"),
        ('"quoted"', "<quoted>"),
        ("7", "<7>"),
        ("ünïcode".encode(), "<ünïcode>"),
    ],
)
def test_a_flow_of_one_input_takes_any_body(serve, tmp_path, body, answer):
    client = serve(dag(tmp_path, ONE, a_py=MARK))

    response = client.post("/score", content=body)

    assert (response.status_code, response.json()) == (200, {"o": answer})
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "body, words",
    [
        ("not json", "not JSON"),
        ("[1, 2]", "no JSON object"),
        ('{"y": "q"}', "Required input fields ['x'] are missing in request data {'y': 'q'}"),
        ('{"x": "text"}', "'x'"),
        ('{"x": Infinity}', "'x'"),
        ('{"x": NaN}', "'x'"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_body_that_cannot_be_used_is_a_user_error(serve, tmp_path, body, words):
    client = serve(dag(tmp_path, TWO, a_py=ADD))

    response = client.post("/score", content=body)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "UserError"
    assert words in response.json()["error"]["message"]
    assert set(response.json()["error"]) == {"code", "message"}


def test_outputs_for_evaluation_only_are_left_out(serve, tmp_path):
    assert serve(dag(tmp_path, TWO, a_py=ADD)).post("/score", json={"x": 2}).json() == {"o": 5}


def test_included_fields_of_the_environment_are_the_only_ones(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTFLOW_RESPONSE_INCLUDED_FIELDS", '["inner"]')

    client = serve(dag(tmp_path, TWO, a_py=ADD))

    assert client.post("/score", json={"x": 2}).json() == {"inner": "why"}
    assert '"o"' not in json.dumps(client.get("/swagger.json").json()["paths"]["/score"]["post"]["responses"]["200"])


def test_an_error_of_the_flow_names_node_and_reason(serve, tmp_path):
    client = serve(
        dag(tmp_path, ONE, a_py="from promptflow.core import tool\n@tool\ndef a(x): raise ValueError('bad')\n")
    )

    response = client.post("/score", json={"x": "s"})

    assert response.status_code == 400
    assert response.json() == {"error": {"code": "UserError", "message": "Execution failure in 'a': (ValueError) bad"}}


def test_a_tool_that_exits_ends_its_request_and_not_the_server(serve, tmp_path):
    code = "from promptflow.core import tool\n@tool\ndef a(x):\n    if x == 'bye': raise SystemExit(3)\n    return x\n"
    client = serve(dag(tmp_path, ONE, a_py=code))

    assert client.post("/score", json={"x": "bye"}).status_code in (400, 500)
    assert client.post("/score", json={"x": "still here"}).json() == {"o": "still here"}


def test_what_json_cannot_hold_is_an_error_that_says_so(serve, tmp_path):
    client = serve(dag(tmp_path, ONE, a_py="from promptflow.core import tool\n@tool\ndef a(x): return object()\n"))

    response = client.post("/score", json={"x": "s"})

    assert response.status_code == 400
    assert "cannot be written as JSON" in response.json()["error"]["message"]


def test_numbers_beyond_64_bits_and_dataclasses_come_through(serve, tmp_path):
    code = """
        import dataclasses
        @dataclasses.dataclass
        class Answer:
            big: int
            nested: dict
        def run(n: int = 70) -> Answer:
            return Answer(2 ** n, {1: {"a"}})
    """
    client = serve(write(tmp_path, flow_flex_yaml="entry: code:run\n", code_py=code))

    assert client.post("/score", json={"n": 70}).json() == {"big": 2**70, "nested": {"1": ["a"]}}


def test_a_flex_flow_that_returns_no_dict_answers_with_the_bare_value(serve, tmp_path):
    client = serve(
        write(tmp_path, flow_flex_yaml="entry: m:fn\n", m_py="def fn(q: str = 'dq') -> str: return 'fn:' + q\n")
    )

    assert client.post("/score", json={"q": "x"}).json() == "fn:x"
    assert client.post("/score", content=b"").json() == "fn:dq"


def test_a_class_is_made_once_with_its_init(serve, tmp_path):
    code = """
        class C:
            made = 0
            def __init__(self, a: str, n: int = 1):
                type(self).made += 1
                self.a = a * n
            async def __call__(self, q: str, k: int = 2):
                return {"r": self.a + q * k, "made": self.made}
    """
    client = serve(write(tmp_path, flow_flex_yaml="entry: m:C\n", m_py=code), init={"a": "Q", "n": "2"})

    assert client.post("/score", json={"q": "ab"}).json() == {"r": "QQabab", "made": 1}
    assert client.post("/score", json={"q": "ab", "k": 1}).json() == {"r": "QQab", "made": 1}
    missing = client.post("/score", json={})
    assert missing.status_code == 400
    assert missing.json()["error"]["message"] == "Required input fields ['q'] are missing in request data {}"


def test_init_may_come_from_the_environment(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("PF_FLOW_INIT_CONFIG", '{"a": "env"}')
    code = "class C:\n    def __init__(self, a: str): self.a = a\n    def __call__(self): return self.a\n"

    client = serve(write(tmp_path, flow_flex_yaml="entry: m:C\n", m_py=code))

    assert client.post("/score").json() == "env"


def test_ids_of_the_caller_come_back_and_name_the_run(serve, tmp_path):
    client = serve(dag(tmp_path, ONE, a_py=MARK))

    both = client.post("/score", json={}, headers={"x-request-id": "r1", "x-ms-client-request-id": "c1"})
    one = client.post("/score", json={}, headers={"x-ms-client-request-id": "c2"})
    none = client.post("/score", json={})

    assert (both.headers["x-request-id"], both.headers["x-ms-client-request-id"]) == ("r1", "c1")
    assert (one.headers["x-request-id"], one.headers["x-ms-client-request-id"]) == ("c2", "c2")
    assert len(none.headers["x-request-id"]) == 36
    assert "x-ms-client-request-id" not in none.headers


PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()
IMAGE = """
inputs: {picture: {type: image}}
outputs: {o: {type: image, reference: "${a.output}"}, many: {type: list, reference: "${b.output}"}}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {p: "${inputs.picture}"}}
- {name: b, type: python, source: {type: code, path: b.py}, inputs: {p: "${inputs.picture}"}}
"""


@pytest.mark.parametrize(
    "message_format, given, form",
    [
        ("basic", {"data:image/png;base64": PICTURE}, {"data:image/png;base64": PICTURE}),
        ("basic", PICTURE, {"data:image/png;base64": PICTURE}),
        (
            "openai-vision",
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
        ),
    ],
)
def test_images_go_in_and_out_as_base64(serve, tmp_path, message_format, given, form):
    code = "from promptflow.core import tool\n@tool\ndef {0}(p): return {1}\n"
    flow = dag(
        tmp_path, f"message_format: {message_format}\n{IMAGE}", a_py=code.format("a", "p"), b_py=code.format("b", "[p]")
    )

    response = serve(flow).post("/score", json={"picture": given})

    assert response.json() == {"o": form, "many": [form]}


@pytest.mark.parametrize("size, status", [(3 * 2**20, 200), (101 * 2**20, 413)])
def test_long_bodies_have_a_limit(serve, tmp_path, size, status):
    code = "from promptflow.core import tool\n@tool\ndef a(x): return len(x)\n"
    client = serve(dag(tmp_path, ONE, a_py=code))

    def chunks():
        for _ in range(size // 2**20):
            yield b"x" * 2**20

    response = client.post("/score", content=chunks())

    assert response.status_code == status
    assert response.json() == {"o": size} if status == 200 else response.json()["error"]["code"] == "UserError"


def test_a_browser_of_another_origin_is_answered(serve, tmp_path):
    client = serve(dag(tmp_path, ONE, a_py=MARK))

    asked = client.options(
        "/score",
        headers={
            "origin": "http://elsewhere",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        },
    )
    answered = client.post("/score", json={}, headers={"origin": "http://elsewhere"})

    assert asked.status_code == 200 and asked.headers["access-control-allow-origin"] == "*"
    assert answered.json() == {"o": "<dx>"} and answered.headers["access-control-allow-origin"] == "*"


def test_many_requests_at_once_wait_for_each_other_only_in_the_flow(serve, tmp_path):
    code = """
        import threading
        from promptflow.core import tool
        together = threading.Barrier(8, timeout=20)
        @tool
        def a(x):
            together.wait()
            return x
    """
    client = serve(dag(tmp_path, ONE, a_py=code))
    url = client.base_url.join("/score")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: httpx.post(url, json={"x": str(n)}).json(), range(8)))

    assert answers == [{"o": str(n)} for n in range(8)]


def test_health_is_told_to_load_balancers_of_both_kinds(serve, tmp_path):
    client = serve(dag(tmp_path, ONE, a_py=MARK))

    assert client.get("/health").json()["status"] == "Healthy"
    assert client.head("/health").status_code == 200


@pytest.mark.parametrize("path, status", [("/score", 405), ("/<b>nope", 404)])
def test_what_is_not_supported_is_told_as_other_errors_are(serve, tmp_path, path, status):
    client = serve(dag(tmp_path, ONE, a_py=MARK))

    refused = client.get(path)

    assert (refused.status_code, refused.headers["content-type"]) == (status, "application/json")
    error = refused.json()["error"]
    assert error["code"] == "UserError"
    assert error["message"].startswith(f"GET {path} is not supported by this app, which answers POST /score")
    assert client.get("/score").headers["allow"] == "POST"


@pytest.mark.parametrize("build, number", [("", None), ('{"build_number": "7"}', "7"), ("no json", None)])
def test_the_version_is_the_builds_if_it_says_so(serve, tmp_path, monkeypatch, build, number):
    monkeypatch.setenv("BUILD_INFO", build)

    facts = serve(dag(tmp_path, ONE, a_py=MARK)).get("/version").json()

    assert facts == {"status": "Healthy", "build_info": build, "version": number or __version__}


def test_threads_can_be_limited(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTFLOW_WORKER_THREADS", "1")
    code = """
        import threading
        from promptflow.core import tool
        alone = threading.Lock()
        @tool
        def a(x):
            assert alone.acquire(blocking=False)
            threading.Event().wait(0.02)
            alone.release()
            return x
    """
    url = serve(dag(tmp_path, ONE, a_py=code)).base_url.join("/score")

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: httpx.post(url, json={"x": n}).status_code, range(12)))

    assert answers == [200] * 12


def test_an_mlflow_model_that_holds_a_flow_is_served(serve, tmp_path):
    dag(tmp_path / "model" / "inner", ONE, a_py=MARK)
    (tmp_path / "model" / "MLmodel").write_text("flavors: {promptflow: {entry: inner/flow.dag.yaml}}\n")

    assert serve(tmp_path / "model").post("/score", json={"x": 1}).json() == {"o": "<1>"}


@pytest.mark.parametrize(
    "name, value",
    [("PF_FLOW_INIT_CONFIG", "{"), ("PF_FLOW_INIT_CONFIG", "[]"), ("PROMPTFLOW_RESPONSE_INCLUDED_FIELDS", "o")],
)
def test_a_variable_that_is_wrong_is_named(serve, tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    with pytest.raises(UserErrorException, match=name):
        serve(dag(tmp_path, ONE, a_py=MARK))
