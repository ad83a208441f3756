"""Every kind of deployment behind one server, each asked by the real client of every dialect that fits it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from promptflow.cli.main import main
from promptflow.workspace import Workspace
from serve.cli.server import stop_server
from serve.endpoints.store import EndpointStore
from serve.supervisor.beacon import find, server_key

numpy = pytest.importorskip("numpy")
openai = pytest.importorskip("openai")
pandas = pytest.importorskip("pandas")
torch = pytest.importorskip("torch")
convert = pytest.importorskip("skl2onnx")
triton = pytest.importorskip("tritonclient.http")
pytest.importorskip("onnxruntime")
flavor = pytest.importorskip("mlflow.sklearn")
linear = pytest.importorskip("sklearn.linear_model")

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]
GRPC = find_spec("grpc") is not None
COLUMNS = ["a", "b", "c"]
ROWS = [[0.5, 1.0, 2.0], [3.0, 0.1, 1.0]]
SPLIT = {"columns": COLUMNS, "index": [0, 1], "data": ROWS}
SCORE = """
import json, os, joblib
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema
import numpy

def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "iris.pkl"))
    print("init complete")

@input_schema("data", NumpyParameterType(numpy.array([[1.0, 2.0, 3.0]])))
@output_schema(NumpyParameterType(numpy.array([1])))
def run(data):
    print("one request")
    return model.predict(data)
"""
FLOW = """
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${loud.output}"}
nodes:
- {name: loud, type: python, source: {type: code, path: loud.py}, inputs: {text: "${inputs.question}"}}
"""
LOUD = "from promptflow.core import tool\n@tool\ndef loud(text: str) -> str:\n    return text.upper()\n"


def write(folder: Path) -> None:
    """Files of the deployments, and their YAML."""
    frame = pandas.DataFrame(numpy.random.default_rng(1).random((60, 3)) * 3, columns=COLUMNS)
    model = linear.LogisticRegression().fit(frame, frame["a"] > frame["b"])
    plain = linear.LogisticRegression().fit(frame.to_numpy(), (frame["a"] > frame["b"]).astype(int))
    for name in ("code", "flow"):
        (folder / name).mkdir()
    __import__("joblib").dump(model, folder / "iris.pkl")
    flavor.save_model(model, folder / "mlflow", serialization_format="pickle", pip_requirements=["numpy"])
    kind = convert.common.data_types.FloatTensorType([None, 3])
    onnx = convert.convert_sklearn(plain, initial_types=[("x", kind)], options={"zipmap": False})
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    torch.manual_seed(1)
    torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.ones(1, 3)), folder / "model.pt")
    (folder / "code" / "score.py").write_text(SCORE)
    (folder / "flow" / "flow.dag.yaml").write_text(FLOW)
    (folder / "flow" / "loud.py").write_text(LOUD)
    script = "model: {path: iris.pkl}\ncode_configuration: {code: code, scoring_script: score.py}"
    for name, text in {
        "skl": "model: {path: iris.pkl}\nallow_pickle: true",
        "net": "model: {path: model.pt}\nbatching: {max_size: 16, latency_ms: 50}",
        "onx": "model: {path: model.onnx}",
        "mlf": "model: {path: mlflow, type: mlflow_model}\nallow_pickle: true",
        "scr": script,
        "flo": "flow: flow",
        "llm": "model: fake/echo\nengine: fake",
    }.items():
        told = f"name: blue\nendpoint_name: {name}\n{text}\nrequest_settings: {{request_timeout_ms: 60000}}\n"
        (folder / f"{name}.yml").write_text(f"{told}instance_type: Standard_DS3_v2\ninstance_count: 1\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """All seven behind one server: its url, and the keys by endpoint."""
    folder, home = tmp_path_factory.mktemp("deployments"), tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PF_HOME_DIRECTORY", str(home))
        write(folder)
        names = [file.stem for file in folder.glob("*.yml")]
        assert main(["server", "start", *(["--grpc-port", "0"] if GRPC else [])]) == 0
        for name in names:
            assert main(["endpoint", "create", "-n", name]) == 0
            assert main(["deployment", "create", "-f", str(folder / f"{name}.yml"), "--all-traffic", "--no-wait"]) == 0
        workspace = Workspace.open(home, "")
        try:
            beacon = find(workspace.home)
            assert beacon is not None
            for name in names:
                wait(beacon.url, server_key(workspace), name)
            store = EndpointStore(workspace)
            yield SimpleNamespace(
                url=beacon.url, grpc=beacon.grpc_address, keys={name: store.keys(name).primary for name in names}
            )
        finally:
            stop_server(workspace)


def wait(url: str, key: str, name: str) -> None:
    deadline = time.monotonic() + 240
    headers = {"Authorization": f"Bearer {key}"}
    while time.monotonic() < deadline:
        answer = httpx.get(f"{url}/api/v1/endpoints/{name}/deployments/blue/status", headers=headers, timeout=30)
        if answer.status_code == 200 and answer.json()["state"] == "Ready":
            return
        time.sleep(0.2)
    raise AssertionError(f"{name} is not ready: {answer.text}")


@pytest.fixture(autouse=True)
def home() -> None:
    """The workspace is the module's."""


def bearer(server: SimpleNamespace, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.keys[name]}", "Content-Type": "application/json"}


# -- Azure: what `az ml online-endpoint invoke` and azure-ai-ml send ------------------------------------------------


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("skl", {"input_data": SPLIT}, [False, True]),
        ("mlf", {"input_data": SPLIT}, [False, True]),
        ("net", {"input_data": ROWS}, None),
        ("onx", {"input_data": ROWS}, None),
        ("scr", {"data": ROWS}, [False, True]),
        ("flo", {"question": "why?"}, {"answer": "WHY?"}),
        ("llm", {"messages": [{"role": "user", "content": "hi"}]}, None),
    ],
)
def test_azure(server: SimpleNamespace, name: str, body: Any, expected: Any) -> None:
    headers = bearer(server, name) | {"azureml-model-deployment": "blue", "x-ms-client-request-id": "one"}
    answer = httpx.post(f"{server.url}/endpoints/{name}/score", content=json.dumps(body), headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["azureml-model-deployment"] == "blue"
    assert expected is None or answer.json() == expected
    assert httpx.post(f"{server.url}/endpoints/{name}/score", content=json.dumps(body)).status_code == 401


@pytest.mark.parametrize("name", ["skl", "mlf", "net", "onx", "scr", "flo"])
@pytest.mark.parametrize("version", [2, 3])
def test_swagger(server: SimpleNamespace, name: str, version: int) -> None:
    url = f"{server.url}/endpoints/{name}/swagger.json?version={version}"
    told = httpx.get(url, headers=bearer(server, name)).json()
    assert "/score" in told["paths"]


# -- MLflow ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "inputs", "check"),
    [
        ("skl", {"dataframe_split": SPLIT}, lambda found: found == {"predictions": [False, True]}),
        ("mlf", {"dataframe_split": SPLIT}, lambda found: found == {"predictions": [False, True]}),
        ("mlf", {"inputs": {"a": [0.5], "b": [1.0], "c": [2.0]}}, lambda found: found == {"predictions": [False]}),
        ("net", {"instances": ROWS}, lambda found: numpy.shape(found["predictions"]) == (2, 2)),
        ("onx", {"inputs": ROWS}, lambda found: found["predictions"]["label"] == [0, 1]),
        ("scr", {"dataframe_split": SPLIT}, lambda found: found == {"predictions": [False, True]}),
        (
            "flo",
            {"dataframe_records": [{"question": "why?"}]},
            lambda found: found["predictions"] == [{"answer": "WHY?"}],
        ),
        ("llm", {"messages": [{"role": "user", "content": "hi"}]}, lambda found: found["object"] == "chat.completion"),
    ],
)
def test_mlflow_deployments(
    server: SimpleNamespace, name: str, inputs: Any, check: Callable[[Any], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.deployments import get_deploy_client

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", server.keys[name])
    assert check(get_deploy_client(server.url).predict(endpoint=name, inputs=inputs))


def test_mlflow_answers_its_errors(server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests
    from mlflow.deployments import get_deploy_client

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", server.keys["skl"])
    with pytest.raises(requests.HTTPError, match="must have one of"):
        get_deploy_client(server.url).predict(endpoint="skl", inputs={"rows": ROWS})


# -- Open Inference Protocol: Triton's client ------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
@pytest.mark.parametrize(
    ("name", "input", "output", "shape"),
    [
        ("skl", "input", "predict", (2,)),
        ("mlf", "input", "predict", (2,)),
        ("net", "input", "predict", (2, 2)),
        ("onx", "x", "label", (2,)),
    ],
)
def test_triton(server: SimpleNamespace, name: str, input: str, output: str, shape: Any, binary: bool) -> None:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    headers = {"Authorization": f"Bearer {server.keys[name]}"}
    try:
        assert client.is_model_ready(name, headers=headers)
        assert client.get_model_metadata(name, headers=headers)["name"] == name
        tensor = triton.InferInput(input, [2, 3], "FP32")
        tensor.set_data_from_numpy(numpy.array(ROWS, dtype="f4"), binary_data=binary)
        wanted = triton.InferRequestedOutput(output, binary_data=binary)
        found = client.infer(name, [tensor], outputs=[wanted], headers=headers, request_id="7")
        assert found.get_response()["id"] == "7"
        assert found.as_numpy(output).shape == shape
        usual = client.infer(name, [tensor], headers=headers)  # all outputs, as bytes
        assert usual.as_numpy(output) is not None
        with pytest.raises(triton.InferenceServerException, match="no output 'x9'"):
            client.infer(name, [tensor], outputs=[triton.InferRequestedOutput("x9")], headers=headers)
    finally:
        client.close()


def test_triton_asks_for_the_server_as_a_whole(server: SimpleNamespace) -> None:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    try:
        assert client.is_server_live() and client.is_server_ready()
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        with pytest.raises(triton.InferenceServerException, match="There is no GET /v2/systemsharedmemory/status"):
            client.get_system_shared_memory_status()
    finally:
        client.close()


def test_triton_whose_address_is_the_endpoint(server: SimpleNamespace) -> None:
    client = triton.InferenceServerClient(server.url.removeprefix("http://") + "/endpoints/net")
    headers = {"Authorization": f"Bearer {server.keys['net']}"}
    try:
        assert client.is_server_live(headers=headers) and client.is_server_ready(headers=headers)
        assert "binary_tensor_data" in client.get_server_metadata(headers=headers)["extensions"]
    finally:
        client.close()


# -- the same over gRPC ------------------------------------------------------------------------------------------------


@pytest.fixture
def grpc(server: SimpleNamespace) -> Iterator[Any]:
    with pytest.importorskip("tritonclient.grpc").InferenceServerClient(server.grpc) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "input", "output", "shape"),
    [
        ("skl", "input", "predict", (2,)),
        ("mlf", "input", "predict", (2,)),
        ("net", "input", "predict", (2, 2)),
        ("onx", "x", "label", (2,)),
    ],
)
def test_triton_over_grpc(server: SimpleNamespace, grpc: Any, name: str, input: str, output: str, shape: Any) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    headers = {"authorization": f"Bearer {server.keys[name]}"}
    assert grpc.is_model_ready(name, headers=headers)
    told = grpc.get_model_metadata(name, headers=headers)
    assert (told.name, list(told.versions)) == (name, ["blue"])
    tensor = triton.InferInput(input, [2, 3], "FP32")
    tensor.set_data_from_numpy(numpy.array(ROWS, dtype="f4"))
    wanted = triton.InferRequestedOutput(output)
    found = grpc.infer(name, [tensor], "blue", [wanted], headers=headers, request_id="7")
    assert (found.get_response().id, found.get_response().model_version) == ("7", "blue")
    assert found.as_numpy(output).shape == shape
    assert grpc.infer(name, [tensor], headers=headers).as_numpy(output) is not None  # all outputs
    for version, outputs, told in (
        ("green", None, "StatusCode.NOT_FOUND"),
        ("", [triton.InferRequestedOutput("x9")], "StatusCode.INVALID_ARGUMENT"),
    ):
        with pytest.raises(triton.InferenceServerException) as caught:
            grpc.infer(name, [tensor], version, outputs, headers=headers)
        assert caught.value.status() == told


def test_triton_asks_a_flow_and_a_script_over_grpc(server: SimpleNamespace, grpc: Any) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    question = triton.InferInput("question", [2], "BYTES")
    question.set_data_from_numpy(numpy.array(["why?", "ä"], dtype=object))
    found = grpc.infer("flo", [question], headers={"authorization": f"Bearer {server.keys['flo']}"})
    assert [one.decode() for one in found.as_numpy("answer")] == ["WHY?", "Ä"]
    data = triton.InferInput("data", [2, 3], "FP64")
    data.set_data_from_numpy(numpy.array(ROWS))
    found = grpc.infer("scr", [data], headers={"authorization": f"Bearer {server.keys['scr']}"})
    assert found.as_numpy("output").tolist() == [False, True]


def test_triton_over_grpc_at_once_in_a_stream_and_of_the_server(server: SimpleNamespace, grpc: Any) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    assert grpc.is_server_live() and grpc.is_server_ready()
    assert "binary_tensor_data" in grpc.get_server_metadata().extensions
    headers = {"authorization": f"Bearer {server.keys['onx']}"}
    tensor = triton.InferInput("x", [1, 3], "FP32")
    tensor.set_data_from_numpy(numpy.array(ROWS[:1], dtype="f4"))
    heard: Queue[Any] = Queue()

    def told(result: Any, error: Any) -> None:
        heard.put((result, error))

    ids = {str(number) for number in range(20)}
    for id in ids:
        grpc.async_infer("onx", [tensor], told, request_id=id, headers=headers)
    answers = [heard.get(timeout=60) for _ in ids]
    assert all(error is None for _, error in answers)
    assert {result.get_response().id for result, _ in answers} == ids
    grpc.start_stream(told, headers=headers)
    for id in ("1", "2"):
        grpc.async_stream_infer("onx", [tensor], request_id=id)
    assert [heard.get(timeout=60)[0].get_response().id for _ in range(2)] == ["1", "2"]
    grpc.stop_stream()
    with pytest.raises(triton.InferenceServerException) as caught:
        grpc.infer("onx", [tensor])
    assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
    with pytest.raises(triton.InferenceServerException, match="Method not found"):
        grpc.get_inference_statistics("onx", headers=headers)


# -- KServe v1 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["skl", "mlf", "net", "onx", "scr"])
def test_kserve(server: SimpleNamespace, name: str) -> None:
    url, headers = f"{server.url}/v1/models/{name}", bearer(server, name)
    assert httpx.get(url, headers=headers).json() == {"name": name, "ready": True}
    answer = httpx.post(f"{url}:predict", json={"instances": ROWS}, headers=headers, timeout=60)
    assert "predictions" in answer.json(), answer.text
    bad = httpx.post(f"{url}:predict", json={"rows": ROWS}, headers=headers)
    assert (bad.status_code, bad.json()) == (400, {"error": "The body has no 'instances'."})


def test_kserve_asks_a_flow(server: SimpleNamespace) -> None:
    asked = {"instances": [{"question": "why?"}, {"question": "how?"}]}
    answer = httpx.post(f"{server.url}/v1/models/flo:predict", json=asked, headers=bearer(server, "flo"), timeout=60)
    assert answer.json() == {"predictions": [{"answer": "WHY?"}, {"answer": "HOW?"}]}


# -- OpenAI -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1", "/endpoints/llm/v1", "/endpoints/llm"])
def test_openai(server: SimpleNamespace, path: str) -> None:
    with openai.OpenAI(base_url=server.url + path, api_key=server.keys["llm"]) as client:
        said = client.chat.completions.create(model="llm", messages=[{"role": "user", "content": "hello there"}])
        assert "hello" in (said.choices[0].message.content or "")
        pieces = client.chat.completions.create(
            model="llm", messages=[{"role": "user", "content": "hello there"}], stream=True
        )
        assert "hello" in "".join(one.choices[0].delta.content or "" for one in pieces if one.choices)


def test_openai_with_a_wrong_key(server: SimpleNamespace) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="llm", messages=[{"role": "user", "content": "hello"}])
