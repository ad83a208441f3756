"""The YAML of endpoints and deployments: what `az ml` takes is taken, and what is wrong is told with its place."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import pytest

from catalog.registry import Registry
from catalog.schemas import AssetFileError, ModelSpec
from promptflow.cli.errors import three_lines
from promptflow.exceptions import UserErrorException
from promptflow.workspace.yamlfile import dump_yaml, load_yaml, load_yaml_text
from serve.endpoints.deployment_file import KEYS, PRINTED, RECORDED, DeploymentFile, read_deployment
from serve.endpoints.document import deployment_document, endpoint_document
from serve.endpoints.endpoint_file import KEYS as ENDPOINT_KEYS
from serve.endpoints.endpoint_file import read_endpoint
from serve.endpoints.records import Endpoint
from serve.endpoints.resolve import resolve
from serve.endpoints.spec import FLOW, LLM, MODEL, SCRIPT, Probe, RequestSettings
from serve.endpoints.store import EndpointStore

_CODE = "code_configuration: {code: src, scoring_script: score.py}\n"
_NAMES = "name: blue\nendpoint_name: my-endpoint\n"


def deployment(text: str, folder: Path) -> DeploymentFile:
    file = folder / "blue.yml"
    file.write_text(text)
    data, marks = load_yaml(file)
    return read_deployment(data, folder, marks)


def test_an_endpoint_of_the_cloud() -> None:
    data, marks = load_yaml_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json\n"
        "name: my-endpoint\nauth_mode: aml_token\ndescription: Flowers\ntags: {team: search, tier: 1}\n"
        "public_network_access: disabled\nidentity: {type: system_assigned}\ncompute: azureml:k8s\n"
        "traffic: {blue: 90, green: 10}\nmirror_traffic: {red: 5}\nlocation: westeurope\nprovisioning_state: Succeeded\n"
    )
    found = read_endpoint(data, marks)
    assert (found.warnings, found.notes) == ((), ())
    assert found.endpoint == Endpoint(
        "my-endpoint", "aml_token", {"blue": 90, "green": 10}, {"red": 5}, "Flowers", {"team": "search", "tier": "1"},
        recorded={
            "public_network_access": "disabled", "identity": {"type": "system_assigned"}, "compute": "azureml:k8s",
            "location": "westeurope",
        },
    )  # fmt: skip
    assert read_endpoint(endpoint_document(found.endpoint)).endpoint == found.endpoint


def test_an_update_changes_what_the_file_names() -> None:
    current = Endpoint("my-endpoint", "aml_token", {"blue": 100}, description="old", revision=3)
    changed = read_endpoint({"name": "my-endpoint", "description": "new"}).over(current)
    assert (changed.description, changed.auth_mode, changed.traffic, changed.revision) == (
        "new", "aml_token", {"blue": 100}, 3,
    )  # fmt: skip


def test_a_script_of_the_cloud(project: Path) -> None:
    found = deployment(
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json\n"
        + _NAMES
        + "type: managed\n"
        "model:\n  path: model/\n" + _CODE + "environment:\n  conda_file: conda.yml\n"
        "  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest\n"
        "environment_variables: {A: 1, B: text, C: true}\ninstance_type: Standard_DS3_v2\ninstance_count: 2\n"
        "app_insights_enabled: true\negress_public_network_access: disabled\n"
        "request_settings: {request_timeout_ms: 3000, max_concurrent_requests_per_instance: 4, max_queue_wait_ms: 2000}\n"
        "liveness_probe: {initial_delay: 5, period: 3, timeout: 1, success_threshold: 2, failure_threshold: 9}\n"
        "resources: {requests: {cpu: '0.1', memory: 0.1Gi}, limits: {cpu: '0.2', memory: 200Mi}}\n"
        'data_collector:\n  collections:\n    model_inputs: {enabled: "true", data: {name: ins, path: azureml://x}}\n'
        '    model_outputs: {enabled: "False"}\n  sampling_rate: 0.5\n  rolling_rate: Minute\n'
        "  request_logging: {capture_headers: [X-Trace]}\n",
        project,
    )
    spec = found.spec
    assert found.warnings == () and "no container is run" in found.notes[0]
    assert (spec.kind, found.code, spec.scoring_script) == (SCRIPT, project / "src", "score.py")
    assert found.model is not None and found.model.path == project / "model"
    assert spec.environment.conda["dependencies"] == ["python=3.12", "numpy"]
    assert spec.variables == {"A": "1", "B": "text", "C": "true"}
    assert (spec.instance_count, spec.min_instances, spec.max_instances, spec.idle_seconds) == (2, 2, 2, 0)
    assert found.request == {"timeout": 3.0, "concurrency": 4, "queue_wait": 2.0}
    assert spec.liveness == Probe(5, 3, 1, 2, 9) and spec.readiness == Probe()
    assert spec.memory_limit == 200 * 2**20
    assert spec.collector is not None and spec.collector.sampling_rate == 0.5
    assert (spec.collector.rolling_rate, spec.collector.capture_headers) == ("minute", ("x-trace",))
    assert [one.enabled for one in spec.collector.collections.values()] == [True, False]
    assert spec.recorded["instance_type"] == "Standard_DS3_v2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type: default", (1, 1, 1, 0.0)),
        ("type: TargetUtilization\n  min_instances: 1\n  max_instances: 3\n  polling_interval: 10", (1, 1, 3, 0.0)),
        ("type: target_utilization\n  min_instances: 0\n  max_instances: 2", (1, 0, 2, 300.0)),
        ("min_instances: 0\n  idle_seconds: 7", (1, 0, 1, 7.0)),
        ("min_instances: 2\n  max_instances: 5", (2, 2, 5, 0.0)),
    ],
)
def test_how_many_instances(project: Path, text: str, expected: tuple[Any, ...]) -> None:
    spec = deployment(f"{_NAMES}{_CODE}scale_settings:\n  {text}\n", project).spec
    assert (spec.instance_count, spec.min_instances, spec.max_instances, spec.idle_seconds) == expected


def test_a_count_beyond_the_range_is_warned_of(project: Path) -> None:
    text = f"{_NAMES}{_CODE}instance_count: 9\nscale_settings: {{min_instances: 1, max_instances: 3}}\n"
    found = deployment(text, project)
    assert found.spec.instance_count == 3 and "blue.yml:4:1: 'instance_count' is 9" in found.warnings[0]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ("azureml:my-env:1", {"name": "azureml:my-env:1", "curated": "my-env"}),
        ("azureml:my-env@latest", {"name": "azureml:my-env@latest", "curated": "my-env"}),
        (
            "azureml://registries/azureml/environments/sklearn-1.5/labels/latest",
            {"name": "azureml://registries/azureml/environments/sklearn-1.5/labels/latest", "curated": "sklearn-1.5"},
        ),
        ("{image: mcr.microsoft.com/azureml/curated/sklearn-1.5:9}", {"curated": "sklearn-1.5"}),
        ("{name: e, image: any/thing:1}", {"name": "e", "image": "any/thing:1", "curated": ""}),
        ("{conda_file: {dependencies: [numpy]}}", {"conda": {"dependencies": ["numpy"]}}),
        ("{requirements: [numpy, pandas==2.0]}", {"requirements": ("numpy", "pandas==2.0")}),
        ("{requirements: reqs.txt}", {"requirements": ("numpy", "scipy>1")}),
        ("{build: {path: ., dockerfile_path: Dockerfile}}", {"requirements": ("scipy>1",), "image": "."}),
        ("{conda_file: with-pip.yml}", {"conda": {"dependencies": ["pip", {"pip": ["numpy", "scipy>1"]}]}}),
    ],
)
def test_environments(project: Path, environment: str, expected: dict[str, Any]) -> None:
    (project / "reqs.txt").write_text("numpy  # fast\n\n# a comment\n-r requirements.txt\n")
    (project / "requirements.txt").write_text("scipy>1\n")
    (project / "with-pip.yml").write_text("dependencies:\n- pip\n- pip:\n  - -r reqs.txt\n")
    spec = deployment(f"{_NAMES}{_CODE}environment: {environment}\n", project).spec
    assert {name: getattr(spec.environment, name) for name in expected} == expected


_WRONG = [
    ("instance_count: many\n", "4:1 instance_count", "whole number from 1 to 1000"),
    ("instance_count: 0\n", "4:1 instance_count", "whole number from 1 to 1000"),
    ("request_settings:\n  request_timeout_ms: -1\n", "5:3 request_settings.request_timeout_ms", "is -1"),
    ("request_settings: 5\n", "4:1 request_settings", "is a mapping, not 5"),
    ("liveness_probe:\n  period: soon\n", "5:3 liveness_probe.period", "is 'soon'"),
    ("environment:\n  conda_file: gone.yml\n", "5:3 environment.conda_file", "There is no conda file"),
    ("environment: what is this\n", "4:1 environment", "names no environment"),
    ("environment_variables: [A]\n", "4:1 environment_variables", "mapping of names to texts"),
    ("model: azureml:a:b:c\n", "4:1 model", "names no model"),
    ("model:\n  path: gone\n", "5:3 model.path", "There is no file or folder"),
    ("model:\n  name: x\n", "4:1 model", "needs a path"),
    ("scale_settings:\n  min_instances: 3\n  max_instances: 2\n", "5:3 scale_settings.min_instances", "is 3, and"),
    ("scale_settings:\n  type: sometimes\n", "5:3 scale_settings.type", "default, target_utilization"),
    ("data_collector:\n  sampling_rate: 1.5\n", "5:3 data_collector.sampling_rate", "from 0 to 1"),
    ("data_collector:\n  collections:\n    a: {enabled: maybe}\n", "6:9 data_collector.collections.a.enabled", "true or"),
    ("memory_limit: plenty\n", "4:1 memory_limit", "amount of memory"),
    ("flow: src\n", "4:1 flow", "not both"),
    ("allow_pickle: perhaps\n", "4:1 allow_pickle", "true or false"),
    ("batching: {max_size: 0}\n", "4:12 batching.max_size", "from 1 to 1000000"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "said"), _WRONG)
def test_what_is_wrong_is_told_with_its_place(project: Path, text: str, place: str, said: str) -> None:
    with pytest.raises(AssetFileError) as caught:
        deployment(_NAMES + _CODE + text, project)
    told = three_lines(caught.value)
    assert f"blue.yml:{place}" in told and said in told


@pytest.mark.parametrize(
    ("code", "place", "said"),
    [
        ("{code: gone, scoring_script: score.py}", "3:22 code_configuration.code", "There is no file or folder"),
        ("{code: src/score.py, scoring_script: score.py}", "3:22 code_configuration.code", "give its folder"),
        ("{code: src, scoring_script: main.py}", "3:33 code_configuration.scoring_script", "it holds score.py"),
        ("{code: src, scoring_script: ../model/factor.txt}", "3:33 code_configuration.scoring_script", "no file"),
        ("{code: src}", "3:1 code_configuration", "needs 'scoring_script'"),
        ("{code: 'git+https://x', scoring_script: a.py}", "3:22 code_configuration.code", "folder of this machine"),
    ],
)
def test_code_that_is_not_there(project: Path, code: str, place: str, said: str) -> None:
    with pytest.raises(AssetFileError) as caught:
        deployment(f"{_NAMES}code_configuration: {code}\n", project)
    told = three_lines(caught.value)
    assert f"blue.yml:{place}" in told and said in told


def test_all_that_is_wrong_is_told_at_once(project: Path) -> None:
    with pytest.raises(AssetFileError) as caught:
        deployment("name: 1st\ninstance_count: x\nrequest_settings: {request_timeout_ms: 0}\n" + _CODE, project)
    assert [problem.line for problem in caught.value.problems] == [1, 1, 2, 3]


def test_unknown_keys_are_warned_of(project: Path) -> None:
    found = deployment(_NAMES + _CODE + "instance_kount: 3\nliveness_probe: {periode: 3}\n", project)
    assert [warning.removeprefix(str(project)) for warning in found.warnings] == [
        "/blue.yml:5:18: A probe has no 'periode' (did you mean period?); it is read over",
        "/blue.yml:4:1: A deployment has no 'instance_kount' (did you mean instance_count?); it is read over",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\n", "is no name of an endpoint"),
        ("name: my-endpoint\nauth_mode: none\n", "aad_token, aml_token, key"),
        ("name: my-endpoint\ntraffic: {blue: 90, green: 20}\n", "add up to 110"),
        ("name: my-endpoint\ntraffic: {blue: 1.5}\n", "whole number from 0 to 100"),
        ("name: my-endpoint\ntraffic: [blue]\n", "is a mapping, not a list"),
        ("name: my-endpoint\nmirror_traffic: {blue: all}\n", "whole number from 0 to 100"),
        ("auth_mode: key\n", "needs a name"),
    ],
)
def test_endpoints_that_are_wrong(text: str, said: str) -> None:
    with pytest.raises(AssetFileError, match=said):
        read_endpoint(*load_yaml_text(text))


_ODD: list[Any] = [
    None, True, 0, -1, 2**70, 1.5, math.nan, math.inf, "", "x", "azureml:", "azureml:a:1", "\0", "a\nb", "9" * 400,
    "../..", "/etc/passwd", "src", [], [[]], ["a", {}], {}, {"a": {"b": [None]}}, {None: 1}, {1: 2}, datetime.date.min,
]  # fmt: skip
_INNER = {
    "code_configuration": ("code", "scoring_script"),
    "environment": ("conda_file", "image", "build", "requirements", "name", "inference_config"),
    "model": ("path", "name", "version", "type", "tags", "flavors"),
    "request_settings": ("request_timeout_ms", "max_concurrent_requests_per_instance"),
    "readiness_probe": ("period", "failure_threshold"),
    "scale_settings": ("type", "min_instances", "max_instances", "idle_seconds", "target_in_flight"),
    "data_collector": ("collections", "sampling_rate", "rolling_rate", "request_logging"),
    "resources": ("limits", "requests"),
    "batching": ("max_size", "latency_ms"),
}


@pytest.mark.parametrize("key", KEYS)
def test_whatever_stands_in_a_file_is_read_or_told_of(project: Path, key: str) -> None:
    base = {
        "name": "blue",
        "endpoint_name": "factors",
        "code_configuration": {"code": "src", "scoring_script": "score.py"},
    }
    inner = [{name: odd} for name in _INNER.get(key, ()) for odd in _ODD]
    told = 0
    for value in [*_ODD, *inner]:
        try:
            read_deployment({**base, key: value}, project)
        except AssetFileError as error:
            told += all(problem.message for problem in error.problems)
    assert told or key in (*RECORDED, *PRINTED)


@pytest.mark.parametrize("key", ENDPOINT_KEYS)
def test_whatever_stands_in_an_endpoints_file_is_read_or_told_of(key: str) -> None:
    for value in _ODD:
        try:
            read_endpoint({"name": "factors", key: value})
        except AssetFileError as error:
            assert error.problems


def test_what_is_resolved_is_a_copy_that_stays(store: EndpointStore, project: Path) -> None:
    found = resolve(deployment(f"{_NAMES}model: {{path: model}}\n{_CODE}", project), store.workspace)
    spec = found.spec
    (project / "src" / "score.py").unlink()
    (project / "model" / "factor.txt").write_text("9")
    assert spec.code is not None and (spec.code / "score.py").is_file()
    assert spec.model_path is not None and spec.model_path.name == "model"
    assert (spec.model_path / "factor.txt").read_text() == "3"
    assert len(spec.assets) == 2 and spec.request == RequestSettings()


def test_a_document_is_read_back_as_it_was(store: EndpointStore, project: Path) -> None:
    store.create(Endpoint("my-endpoint"))
    text = (
        f"{_NAMES}model: {{path: model}}\n{_CODE}environment: {{conda_file: conda.yml, image: i}}\ninstance_count: 2\n"
        "scale_settings: {min_instances: 0, max_instances: 4}\ndata_collector: {collections: {model_inputs: {}}}\n"
        "request_settings: {request_timeout_ms: 90}\ninstance_type: X\nmemory_limit: 1Gi\n"
    )
    kept = store.put(resolve(deployment(text, project), store.workspace))
    shown = deployment_document(kept)
    again = resolve(deployment(dump_yaml(shown), project), store.workspace, kept)
    assert again == kept and deployment_document(again) == shown


def test_a_model_with_the_code_of_its_class_and_options(store: EndpointStore, project: Path) -> None:
    text = (
        f"{_NAMES}model: {{path: model}}\ncode_configuration: {{code: src}}\nbatching: {{max_size: 8}}\n"
        "options: {model_class: 'score:Net', model_arguments: {width: 2}}\n"
    )
    kept = resolve(deployment(text, project), store.workspace)
    spec = kept.spec
    assert (spec.kind, spec.scoring_script) == (MODEL, "") and spec.code is not None
    assert spec.options["batching"] == {"max_size": 8, "latency_ms": 100.0}
    assert spec.options["model_arguments"] == {"width": 2}
    assert resolve(deployment(dump_yaml(deployment_document(kept)), project), store.workspace, kept) == kept


def test_a_registered_model_is_held_by_its_version(store: EndpointStore, project: Path) -> None:
    asset = Registry(store.workspace).create(ModelSpec("iris", "model", folder=project))
    for reference in ("azureml:iris:1", "azureml:iris@latest", "azureml://registries/r/models/iris/versions/1", "iris"):
        spec = resolve(deployment(f"{_NAMES}model: {reference}\n", project), store.workspace).spec
        assert (spec.kind, spec.model, spec.assets) == (MODEL, "iris:1", (asset.id,))


def test_an_inline_model_with_a_name_is_registered(store: EndpointStore, project: Path) -> None:
    text = f"{_NAMES}model: {{name: factor, version: 3, path: model}}\n{_CODE}"
    spec = resolve(deployment(text, project), store.workspace).spec
    assert spec.model == "factor:3" and Registry(store.workspace).get("factor:3").id in spec.assets


def test_adapters_are_held_and_must_be_there(store: EndpointStore, project: Path) -> None:
    adapter = project / "formal"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "builtin/intent-mini"}')
    asset = Registry(store.workspace).create(ModelSpec("formal", "formal", folder=project))
    text = f"{_NAMES}model: builtin/intent-mini\nadapters: {{brief: ./formal, formal: formal}}\n"
    kept = resolve(deployment(text, project), store.workspace)
    assert kept.spec.options["adapters"] == {"brief": str(adapter), "formal": "formal"}
    assert kept.spec.assets == (asset.id,)
    with pytest.raises(UserErrorException, match="There is no model gone"):
        resolve(deployment(text.replace("formal: formal", "formal: gone"), project), store.workspace)
    with pytest.raises(AssetFileError, match="There is no file or folder"):
        deployment(text.replace("./formal", "./gone"), project)


def test_a_folder_with_a_flow_is_a_flow_and_a_builtin_model_an_llm(store: EndpointStore, project: Path) -> None:
    (project / "model" / "flow.dag.yaml").write_text("inputs: {}\noutputs: {}\nnodes: []\n")
    flow = resolve(deployment(f"{_NAMES}model: {{path: model}}\n", project), store.workspace).spec
    assert (flow.kind, flow.scoring_script, flow.request.concurrency) == (FLOW, "flow.dag.yaml", 16)
    ours = resolve(deployment(f"{_NAMES}flow: model\n", project), store.workspace).spec
    assert (ours.kind, ours.code) == (FLOW, flow.code)
    llm = resolve(deployment(f"{_NAMES}model: builtin/intent-mini\n", project), store.workspace).spec
    assert (llm.kind, llm.model, llm.request.timeout) == (LLM, "builtin/intent-mini", 600.0)


def test_the_word_for_pickles_is_the_files_or_the_settings(store: EndpointStore, project: Path) -> None:
    silent, said = f"{_NAMES}{_CODE}", f"{_NAMES}{_CODE}allow_pickle: true\n"
    assert not resolve(deployment(silent, project), store.workspace).spec.allow_pickle
    assert resolve(deployment(said, project), store.workspace).spec.allow_pickle
    store.workspace.settings.set("deployments.allow_pickle", True)
    assert resolve(deployment(silent, project), store.workspace).spec.allow_pickle
