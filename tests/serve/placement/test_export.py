"""`pf deployment export`: what it writes, what it must never write, and that it starts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import kubernetes_validate
import pytest
from packaging.requirements import Requirement

from promptflow.cli.main import main
from promptflow.connections.custom import CustomConnection
from promptflow.connections.store import ConnectionStore
from promptflow.workspace import Workspace
from promptflow.workspace.yamlfile import load_yaml
from serve.endpoints.deployment_file import read_deployment
from serve.endpoints.records import Endpoint
from serve.endpoints.resolve import resolve
from serve.endpoints.store import EndpointStore
from serve.gateway.heads import request_head
from serve.gateway.wire import Address, LostError, connect
from serve.placement.folder import SPEC
from serve.placement.key import KEY
from tests.promptflow.flowkit import write

SECRET, PLAIN, OWN_KEY = "sk-never-in-an-export", "plain-but-secret-9", "a-key-for-one-instance"
SCORE = """
import json
import os
import helper


def init():
    global factor
    factor = float(open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "factor.txt")).read())


def run(raw):
    told = [os.environ[name] for name in ("LEVEL", "BACKEND_KEY", "PF_DEPLOYMENT_NAME")]
    return [[factor * value for value in json.loads(raw)["data"]], *told, os.environ.get("PF_INSTANCE_KEY"), helper.X]
"""
BLUE = """
name: blue
endpoint_name: shop
model: {path: model}
code_configuration: {code: src, scoring_script: score.py}
environment_variables: {LEVEL: debug, BACKEND_KEY: "${backend.token}"}
"""
FLOW = """
environment_variables: {FROM: "${backend.url}"}
inputs: {x: {type: string}}
outputs: {o: {type: string, reference: "${a.output}"}}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}", c: backend}}
"""
TOOL = """
import os
from promptflow.core import tool
from promptflow.connections import CustomConnection

@tool
def a(x: str, c: CustomConnection):
    return f"{x} {c.token} {os.environ['FROM']}"
"""


@pytest.fixture
def project(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script with a model, a flow, the connection that both use, and an endpoint."""
    folder = tmp_path / "project"
    for name, text in {
        "src/score.py": SCORE,
        "src/helper.py": "X = 1\n",
        "src/.env": f"KEY={PLAIN}\n",
        "model/factor.txt": "3",
        "flow/flow.dag.yaml": FLOW,
        "flow/a.py": TOOL,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    workspace = Workspace.open(home, "")
    connection = CustomConnection(name="backend", configs={"url": "http://here"}, secrets={"token": SECRET})
    ConnectionStore(workspace).create_or_update(connection)
    EndpointStore(workspace).create(Endpoint("shop"))
    monkeypatch.chdir(folder)
    return folder


def deploy(project: Path, home: Path, text: str = BLUE, **more: Any) -> None:
    """Keep a deployment; no server needs to run for an export."""
    (project / "blue.yml").write_text(textwrap.dedent(text))
    data = {**load_yaml(project / "blue.yml")[0], **more}
    workspace = Workspace.open(home, "")
    EndpointStore(workspace).put(resolve(read_deployment(data, project), workspace))


def export(output: Path, *words: str) -> int:
    return main(["deployment", "export", "-n", "blue", "-e", "shop", "--output", str(output), *words])


@contextlib.contextmanager
def started(words: list[str], tmp_path: Path, **environ: str) -> Iterator[httpx.Client]:
    """Run an export, without any workspace, and without what this process has in its environment."""
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PF_HOME_DIRECTORY": str(tmp_path / "other-home")}
    given |= {"PYTHON": sys.executable, "PF_SERVING_PORT": "0", **environ}
    process = subprocess.Popen(words, env=given, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("http://"):
                break
        else:
            raise AssertionError("".join(lines))
        with httpx.Client(base_url=line.strip(), timeout=20) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode in (0, -15)


def ask(client: httpx.Client, body: Any, path: str = "/score") -> httpx.Response:
    return client.post(path, json=body, headers={"Authorization": f"Bearer {OWN_KEY}"})


def documents(folder: Path) -> dict[str, Any]:
    return {file.name: load_yaml(file)[0] for file in sorted(folder.iterdir())}


def texts(folder: Path) -> Mapping[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("words", [["-m", "serve.placement"], ["start.sh"]], ids=["python -m", "start.sh"])
def test_an_export_starts_without_a_container(project: Path, home: Path, tmp_path: Path, words: list[str]) -> None:
    deploy(project, home)
    assert export(tmp_path / "out") == 0
    moved = (tmp_path / "out").rename(tmp_path / "moved")  # it knows no path of where it was made
    command = [sys.executable, *words, str(moved)] if words[0] == "-m" else ["sh", str(moved / "start.sh")]

    with started(command, tmp_path, **{KEY: OWN_KEY, "BACKEND_KEY": "given"}) as client:
        answer = ask(client, {"data": [1, 2]})
        assert answer.json() == [[3.0, 6.0], "debug", "given", "blue", None, 1]
        assert client.post("/score", json={"data": [1]}, headers={"api-key": OWN_KEY}).status_code == 200


def test_only_those_with_the_key_are_answered(project: Path, home: Path, tmp_path: Path) -> None:
    deploy(project, home)
    assert export(tmp_path / "out") == 0
    command = [sys.executable, "-m", "serve.placement", str(tmp_path / "out")]
    with started(command, tmp_path, **{KEY: OWN_KEY, "BACKEND_KEY": "given"}) as client:
        assert [client.get(path).text for path in ("/", "/ready")] == ["Healthy", "Ready"]
        for headers in ({}, {"Authorization": f"Bearer {OWN_KEY[:-1]}"}, {"Authorization": OWN_KEY}, {"api-key": ""}):
            refused = client.post("/score", json={"data": [1]}, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "Unauthorized")
        assert client.get("/swagger.json").status_code == 401


def test_the_gateway_shows_the_key_to_an_instance_on_a_network(project: Path, home: Path, tmp_path: Path) -> None:
    deploy(project, home)
    assert export(tmp_path / "out") == 0

    async def status(place: Address) -> int:
        connection = await connect(place)
        ask = request_head("POST", b"/score", b"", [(b"authorization", b"Bearer of-the-client")], 13, b"id")
        connection.ask(ask, b'{"data": [1]}')
        await connection.head()
        connection.close()
        return connection.status

    command = [sys.executable, "-m", "serve.placement", str(tmp_path / "out")]
    with started(command, tmp_path, **{KEY: OWN_KEY, "BACKEND_KEY": "given"}) as client:
        host, port = str(client.base_url.host), int(client.base_url.port or 0)
        assert asyncio.run(status(Address(host, port, OWN_KEY))) == 200
        assert asyncio.run(status(Address(host, port, "another"))) == 401
    with pytest.raises(LostError):
        asyncio.run(status(Address(host, port, OWN_KEY)))
    assert OWN_KEY not in repr(Address(host, port, OWN_KEY))


@pytest.mark.parametrize(
    ("environ", "says"),
    [({}, f"{KEY} is not set"), ({KEY: "short"}, f"{KEY} is too short"), ({KEY: OWN_KEY}, "BACKEND_KEY")],
)
def test_an_export_without_its_secrets_says_which_is_missing(
    project: Path, home: Path, tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    deploy(project, home)
    assert export(tmp_path / "out", "--format", "docker") == 0
    ended = subprocess.run(
        [sys.executable, "-m", "serve.placement", str(tmp_path / "out"), "--port", "0"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environ}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 3
    assert says in ended.stderr and "Traceback" not in ended.stderr


def test_a_folder_that_is_no_export_is_told(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "serve.placement", str(tmp_path)],
        env={"PATH": os.environ["PATH"], KEY: OWN_KEY}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ended.returncode, "holds no deployment" in ended.stderr) == (3, True)


def test_no_file_of_an_export_holds_a_secret(
    project: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"LEVEL": "debug", "BACKEND_KEY": "${backend.token}", "OTHER_PASSWORD": PLAIN}
    deploy(project, home, environment_variables=variables)
    keys = EndpointStore(Workspace.open(home, "")).keys("shop")
    for format in ("docker", "kubernetes", "kserve"):
        assert export(tmp_path / format, "--format", format) == 0
        for name, content in texts(tmp_path / format).items():
            for secret in (SECRET, PLAIN, keys.primary, keys.secondary, str(home), str(project)):
                assert secret.encode() not in content, name
    told = capsys.readouterr().err
    assert ".env is not part of it" in told and "OTHER_PASSWORD" in told and PLAIN not in told
    assert json.loads((tmp_path / "docker" / "settings.json").read_text()) == {
        KEY: "", "BACKEND_KEY": "", "OTHER_PASSWORD": ""
    }  # fmt: skip


def test_code_that_holds_a_secret_is_not_exported(
    project: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "src" / "notes.md").write_text(f"the key is {SECRET}")
    deploy(project, home)
    assert export(tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "notes.md" in told and "'token' of connection 'backend'" in told and SECRET not in told
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_an_address_with_a_password_is_not_exported(
    project: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(project, home, environment={"requirements": ["--extra-index-url https://me:pass-word@index.example/", "x"]})
    assert export(tmp_path / "out") == 1
    assert "password or token" in (told := capsys.readouterr().err) and "pass-word" not in told


def test_manifests_of_kubernetes_keep_to_the_published_schemas(project: Path, home: Path, tmp_path: Path) -> None:
    deploy(
        project, home,
        scale_settings={"type": "target_utilization", "min_instances": 2, "max_instances": 5},
        readiness_probe={"initial_delay": 20, "period": 4, "timeout": 3, "failure_threshold": 5, "success_threshold": 2},
        liveness_probe={"period": 7, "failure_threshold": 6}, request_settings={"request_timeout_ms": 90000},
        resources={"requests": {"cpu": "500m"}, "limits": {"memory": "3Gi", "nvidia.com/gpu": 1}},
    )  # fmt: skip
    assert export(tmp_path / "out", "--image", "registry.example/blue:1") == 0
    found = documents(tmp_path / "out" / "kubernetes")
    for document in found.values():
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    assert list(found) == ["autoscaler.yaml", "deployment.yaml", "service.yaml"]
    assert {key: found["autoscaler.yaml"]["spec"][key] for key in ("minReplicas", "maxReplicas")} == {
        "minReplicas": 2, "maxReplicas": 5
    }  # fmt: skip
    spec = found["deployment.yaml"]["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert "replicas" not in spec and pod["terminationGracePeriodSeconds"] == 100
    assert (pod["securityContext"]["runAsNonRoot"], container["image"]) == (True, "registry.example/blue:1")
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] == 40
    assert container["readinessProbe"] == {
        "httpGet": {"path": "/ready", "port": 8080},
        "periodSeconds": 4, "timeoutSeconds": 3, "failureThreshold": 5, "successThreshold": 2,
    }  # fmt: skip
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 8080}, "periodSeconds": 7, "timeoutSeconds": 2, "failureThreshold": 6
    }  # fmt: skip
    assert container["resources"] == {
        "requests": {"cpu": "500m"}, "limits": {"memory": "3Gi", "nvidia.com/gpu": "1"}
    }  # fmt: skip
    secrets = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"]}
    assert secrets == {
        KEY: {"name": "shop-blue-secrets", "key": KEY},
        "BACKEND_KEY": {"name": "shop-blue-secrets", "key": "BACKEND_KEY"},
    }


def test_a_fixed_number_of_instances_needs_no_autoscaler(project: Path, home: Path, tmp_path: Path) -> None:
    deploy(project, home, instance_count=3, memory_limit="100Mi")
    assert export(tmp_path / "out") == 0
    found = documents(tmp_path / "out" / "kubernetes")
    for document in found.values():
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    assert list(found) == ["deployment.yaml", "service.yaml"]
    assert found["deployment.yaml"]["spec"]["replicas"] == 3
    container = found["deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {"requests": {"memory": "100Mi", "cpu": "250m"}, "limits": {"memory": "100Mi"}}


def test_manifests_of_kserve_keep_to_the_published_schema(project: Path, home: Path, tmp_path: Path) -> None:
    deploy(
        project, home, scale_settings={"min_instances": 0, "max_instances": 4, "target_in_flight": 6},
        request_settings={"max_concurrent_requests_per_instance": 8},
    )  # fmt: skip
    assert export(tmp_path / "out", "--format", "kserve", "--model-claim", "models") == 0
    document = documents(tmp_path / "out" / "kserve")["inference-service.yaml"]
    schema = Path(__file__).parents[2] / "promptflow" / "serving" / "kserve_schema.json"
    jsonschema.validate(document, json.loads(schema.read_text()))
    predictor = document["spec"]["predictor"]
    own = {"minReplicas": 0, "maxReplicas": 4, "scaleMetric": "concurrency", "scaleTarget": 6}
    own |= {"containerConcurrency": 8, "timeout": 5}
    assert {key: predictor.pop(key) for key in own} == own
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": predictor}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    assert {"name": "model", "mountPath": "/app/model", "readOnly": True} in predictor["containers"][0]["volumeMounts"]
    assert not (tmp_path / "out" / "model").exists()
    assert "has the model at `model`" in (tmp_path / "out" / "README.md").read_text()


def test_the_image_is_made_without_root_and_of_what_is_there(project: Path, home: Path, tmp_path: Path) -> None:
    deploy(project, home)
    assert export(tmp_path / "out") == 0
    docker = (tmp_path / "out" / "Dockerfile").read_text()
    assert re.search(r"^USER 10001$", docker, re.M) and "os.environ['PF_SERVING_PORT'] + '/'" in docker
    for line in re.findall(r"^COPY (.+) \S+$", docker, re.M):
        for name in line.split():
            assert (tmp_path / "out" / name).exists(), name
    lines = (tmp_path / "out" / "requirements.lock").read_text().splitlines()
    assert {"promptflow", "uvicorn"} <= {Requirement(line).name for line in lines if "==" in line}


def test_packages_of_an_own_environment_come_before_ours(project: Path, home: Path, tmp_path: Path) -> None:
    deploy(project, home, environment={"requirements": ["jinja2==3.1.0", "not-of-this-machine>=2"]})
    assert export(tmp_path / "out") == 0
    lines = (tmp_path / "out" / "requirements.lock").read_text().splitlines()
    assert lines[-2:] == ["jinja2==3.1.0", "not-of-this-machine>=2"]
    assert len([line for line in lines if line.lower().startswith("jinja2==")]) == 1


def test_a_flow_is_exported_with_its_connections(project: Path, home: Path, tmp_path: Path) -> None:
    deploy(project, home, "name: blue\nendpoint_name: shop\nflow: flow\n")
    assert export(tmp_path / "out") == 0
    connection, _ = load_yaml(tmp_path / "out" / "connections" / "backend.yaml")
    assert connection["secrets"] == {"token": "${env:BACKEND_TOKEN}"}
    command = [sys.executable, "-m", "serve.placement", str(tmp_path / "out")]
    with started(command, tmp_path, **{KEY: OWN_KEY, "BACKEND_TOKEN": "sent"}) as client:
        answer = ask(client, {"x": "s"}).json()["o"]
        assert answer.startswith("s ") and answer.endswith(" http://here")


def test_a_language_model_is_exported_with_its_files(project: Path, home: Path, tmp_path: Path) -> None:
    deploy(project, home, "name: blue\nendpoint_name: shop\nmodel: builtin/words\n")
    assert export(tmp_path / "out") == 0
    command = [sys.executable, "-m", "serve.placement", str(tmp_path / "out")]
    with started(command, tmp_path, **{KEY: OWN_KEY}) as client:
        answer = ask(client, {"model": "shop", "input": "one text"}, "/v1/embeddings")
        assert answer.json()["data"][0]["embedding"]
        assert ask(client, {"input": "one text"}).status_code == 200


@pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")
def test_a_model_is_exported_with_what_loads_it(project: Path, home: Path, tmp_path: Path) -> None:
    import joblib
    from sklearn.linear_model import LinearRegression

    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), project / "line.joblib")
    deploy(project, home, "name: blue\nendpoint_name: shop\nmodel: {path: line.joblib}\nallow_pickle: true\n")
    assert export(tmp_path / "out") == 0
    pins = (tmp_path / "out" / "requirements.lock").read_text()
    assert re.search(r"^scikit-learn==", pins, re.M) and re.search(r"^joblib==", pins, re.M)
    command = [sys.executable, "-m", "serve.placement", str(tmp_path / "out")]
    with started(command, tmp_path, **{KEY: OWN_KEY}) as client:
        assert ask(client, {"data": [[3.0]]}).json() == [pytest.approx(6.0)]
        assert ask(client, {"instances": [[3.0]]}, "/v1/models/any:predict").json()["predictions"]


def test_only_what_was_exported_is_overwritten(project: Path, home: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", thesis_txt="years of work")
    deploy(project, home)
    assert [export(tmp_path / "out"), export(tmp_path / "out"), export(other)] == [0, 0, 1]
    assert (other / "thesis.txt").exists() and (tmp_path / "out" / SPEC).exists()


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        ("model: any\nengine: vllm\n", (), "vLLM has images of its own"),
        ("flow: flow\n", ("--model-claim", "models"), "for deployments with a model"),
        ("model: {path: model}\n", ("--model-claim", "m", "--format", "docker"), "for manifests"),
    ],
)
def test_what_cannot_be_exported_is_told(
    project: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    text: str, words: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    if "engine" in text:
        text = text.replace("any", str(write(project / "llm", config_json="{}")))
    deploy(project, home, f"name: blue\nendpoint_name: shop\n{text}")
    assert export(tmp_path / "out", *words) == 1
    assert says in capsys.readouterr().err
