"""`pf endpoint` and `pf deployment`, with a real server and a real score.py."""

from __future__ import annotations

import json
import pickle
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from promptflow.cli.main import main
from promptflow.connections import CustomConnection
from promptflow.connections.store import ConnectionStore
from promptflow.workspace import Workspace
from serve.cli.server import stop_server
from serve.endpoints.store import EndpointStore

Pf = Callable[..., tuple[int, str, str]]
ENDPOINT = "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json\nname: factors\n"
BLUE = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
endpoint_name: factors
model: {path: model}
code_configuration: {code: src, scoring_script: score.py}
instance_type: Standard_DS3_v2
instance_count: 1
"""


@pytest.fixture
def pf(project: Path, home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pf]:
    """Run one command line in the project: (exit code, stdout, stderr). The server that it starts is stopped."""
    monkeypatch.chdir(project)
    (project / "endpoint.yml").write_text(ENDPOINT)
    (project / "blue.yml").write_text(BLUE)

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    yield run
    stop_server(Workspace.open(home, ""))


def test_a_script_is_deployed_asked_updated_and_deleted(pf: Pf, project: Path) -> None:
    assert pf("endpoint", "create", "-f", "endpoint.yml")[0] == 0
    code, out, err = pf("deployment", "create", "-f", "blue.yml", "--all-traffic")
    assert code == 0, err
    shown = json.loads(out)
    assert (shown["provisioning_state"], shown["traffic"], len(shown["instances"])) == ("Succeeded", 100, 1)
    assert pf("endpoint", "invoke", "--name", "factors", "--request-file", "request.json")[1] == "[3.0,6.0]\n"
    assert pf("endpoint", "invoke", "-n", "factors", "-r", "request.json", "-o", "yaml")[1] == "- 3.0\n- 6.0\n"

    (project / "shown.yml").write_text(pf("deployment", "show", "-n", "blue", "-e", "factors", "-o", "yaml")[1])
    code, out, err = pf("deployment", "create", "-f", "shown.yml", "--query", "revision")
    assert (code, out) == (0, "2\n") and "warning" not in err  # what is shown may be read back

    (project / "model" / "factor.txt").write_text("5")
    assert pf("deployment", "update", "-f", "blue.yml", "--set", "tags.try=2")[0] == 0
    assert pf("endpoint", "invoke", "-n", "factors", "-r", "request.json")[1] == "[5.0,10.0]\n"

    (project / "request.json").write_text('{"wrong": 1}')
    code, out, err = pf("endpoint", "invoke", "-n", "factors", "-r", "request.json")
    assert (code, out) == (1, "") and "answered 424" in err and "get-logs -n blue -e factors" in err
    assert "KeyError" in pf("deployment", "get-logs", "-n", "blue", "-e", "factors", "--lines", "50")[1]

    code, _, err = pf("deployment", "update", "-n", "blue", "-e", "factors", "--set", "name=red")
    assert code == 1 and "has no deployment 'red'" in err
    code, _, err = pf("deployment", "delete", "-n", "blue", "-e", "factors", "-y")
    assert code == 1 and "has 100 % of the traffic" in err
    assert pf("endpoint", "update", "-n", "factors", "--traffic", "blue=0")[0] == 0
    assert pf("deployment", "delete", "-n", "blue", "-e", "factors", "-y")[0] == 0
    assert pf("endpoint", "delete", "-n", "factors", "--yes", "--no-wait")[0] == 0
    assert json.loads(pf("endpoint", "list", "-o", "json")[1]) == []


def test_traffic_moves_between_deployments_and_a_pin_goes_round_it(pf: Pf) -> None:
    pf("endpoint", "create", "-n", "factors", "--tags", "team=search")
    pf("deployment", "create", "-f", "blue.yml", "--all-traffic")
    code, _, err = pf("deployment", "create", "-f", "blue.yml", "--name", "green", "--set", "environment_variables.A=1")
    assert code == 0, err
    code, out, _ = pf("endpoint", "update", "--name", "factors", "--traffic", "blue=90 green=10", "--query", "traffic")
    assert (code, json.loads(out)) == (0, {"blue": 90, "green": 10})
    code, _, err = pf("endpoint", "update", "-n", "factors", "--traffic", "blue=90 grin=10")
    assert code == 1 and "'grin', which is no deployment: there are blue, green" in err
    answer = pf("endpoint", "invoke", "-n", "factors", "-r", "request.json", "--deployment-name", "green")
    assert answer[:2] == (0, "[3.0,6.0]\n")
    assert pf("endpoint", "update", "-n", "factors", "--traffic", "green=100")[0] == 0
    shown = json.loads(pf("endpoint", "show", "-n", "factors")[1])
    assert shown["traffic"] == {"blue": 0, "green": 100} and shown["tags"] == {"team": "search"}
    assert pf("endpoint", "update", "-n", "factors", "--mirror-traffic", "blue=20")[0] == 0
    assert pf("completion", "words", "--", "endpoint", "show", "-n", "")[1].split() == ["factors"]
    assert pf("completion", "words", "--", "deployment", "show", "-n", "")[1].split() == ["blue", "green"]
    rows = pf("deployment", "list", "-e", "factors", "-o", "tsv")[1].splitlines()
    assert [row.split("\t")[0] for row in rows] == ["name", "blue", "green"]
    code, out, _ = pf("deployment", "scale", "-n", "green", "-e", "factors", "--instances", "2")
    assert code == 0 and len(json.loads(out)["instances"]) == 2


def test_keys_open_and_tokens_expire(pf: Pf) -> None:
    pf("endpoint", "create", "-f", "endpoint.yml", "--auth-mode", "aml_token")
    pf("deployment", "create", "-f", "blue.yml", "--all-traffic")
    uri = pf("endpoint", "show", "-n", "factors", "--query", "scoring_uri", "-o", "tsv")[1].strip()
    token = pf("endpoint", "get-credentials", "-n", "factors", "--query", "accessToken", "-o", "tsv")[1].strip()
    assert ask(uri, token) == 200 and ask(uri, "wrong") == 401
    assert pf("endpoint", "regenerate-keys", "-n", "factors", "-y")[0] == 0
    assert ask(uri, token) == 401
    assert pf("endpoint", "update", "-n", "factors", "--auth-mode", "key")[0] == 0
    keys = json.loads(pf("endpoint", "get-credentials", "-n", "factors")[1])
    assert ask(uri, keys["primaryKey"]) == ask(uri, keys["secondaryKey"]) == 200
    assert pf("endpoint", "regenerate-keys", "-n", "factors", "--key-type", "secondary")[0] == 0
    assert (ask(uri, keys["primaryKey"]), ask(uri, keys["secondaryKey"])) == (200, 401)


def ask(uri: str, key: str) -> int:
    request = urllib.request.Request(uri, b'{"data": [1]}', {"Authorization": f"Bearer {key}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_what_does_not_start_says_why_and_gets_no_traffic(pf: Pf, project: Path) -> None:
    pf("endpoint", "create", "-f", "endpoint.yml")
    (project / "src" / "score.py").write_text(
        "def init():\n    raise OSError('no weights here')\n\ndef run(raw): ...\n"
    )
    code, out, err = pf("deployment", "create", "-f", "blue.yml", "--all-traffic")
    assert (code, out) == (1, "")
    assert "factors/blue failed" in err and "no weights here" in err and "get-logs -n blue -e factors" in err
    code, out, _ = pf("deployment", "show", "-n", "blue", "-e", "factors")
    assert json.loads(out)["provisioning_state"] == "Failed" and json.loads(out)["traffic"] == 0
    assert pf("endpoint", "update", "-n", "factors", "--set", "name=others")[0] == 2
    code, _, err = pf("endpoint", "update", "-n", "factors", "--traffic", "blue=100")
    assert code == 0 and "100 % of the traffic goes to 'blue', which is not ready" in err
    pf("endpoint", "update", "-n", "factors", "--traffic", "blue=0")
    code, _, err = pf("endpoint", "invoke", "-n", "factors", "-r", "request.json")
    assert code == 1 and "No deployment of 'factors' gets traffic (there is blue)" in err


def test_variables_may_be_of_a_connection(pf: Pf, project: Path, opened: Workspace) -> None:
    connection = CustomConnection(name="shop", secrets={"token": "s3cr3t"}, configs={"base": "b"})
    ConnectionStore(opened).create_or_update(connection)
    (project / "src" / "score.py").write_text(
        "import os\n\ndef init(): ...\n\ndef run(raw):\n    return [os.environ[name] for name in ('TOKEN', 'PLAIN')]\n"
    )
    pf("endpoint", "create", "-f", "endpoint.yml")
    words = ("environment_variables.TOKEN=${shop.token}", "environment_variables.PLAIN=${other}")
    assert pf("deployment", "create", "-f", "blue.yml", "--all-traffic", "--set", *words)[0] == 0
    assert pf("endpoint", "invoke", "-n", "factors", "-r", "request.json")[1] == '["s3cr3t","${other}"]\n'
    kept = [file for file in opened.home.rglob("*") if file.is_file() and b"s3cr3t" in file.read_bytes()]
    assert kept == []
    gone = ("deployment", "update", "-f", "blue.yml", "--set", "environment_variables.TOKEN=${shop.nothing}")
    code, _, err = pf(*gone)
    assert code == 1 and "connection shop has no nothing" in err
    answer = pf("endpoint", "invoke", "-n", "factors", "-r", "request.json")  # the instance before goes on
    assert answer[0] == 0


def test_a_stopped_server_comes_back_with_all_that_there_was(pf: Pf, opened: Workspace) -> None:
    pf("endpoint", "create", "-f", "endpoint.yml")
    pf("deployment", "create", "-f", "blue.yml", "--all-traffic")
    stop_server(opened)
    assert json.loads(pf("endpoint", "show", "-n", "factors")[1])["provisioning_state"] == "Stopped"
    code, out, err = pf("endpoint", "invoke", "-n", "factors", "-r", "request.json")
    assert (code, out) == (0, "[3.0,6.0]\n") and "started the server" in err


def test_local_asks_the_only_deployment(pf: Pf) -> None:
    pf("endpoint", "create", "--local", "-f", "endpoint.yml")
    pf("deployment", "create", "--local", "-f", "blue.yml")
    assert pf("endpoint", "invoke", "--local", "-n", "factors", "-r", "request.json")[:2] == (0, "[3.0,6.0]\n")


def test_errors_of_the_command_line(pf: Pf, store: EndpointStore) -> None:
    for words, code, said in (
        (("deployment", "create", "-f", "blue.yml"), 1, "There is no endpoint 'factors'"),
        (("deployment", "create", "-f", "blue.yml", "--set", "instance_kount=2"), 2, "did you mean instance_count?"),
        (("deployment", "create", "-f", "blue.yml", "--set", "instance_count=0"), 1, "at --set instance_count\n"),
        (
            ("deployment", "create", "-f", "blue.yml", "--set", "request_settings.x=1"),
            1,
            "warning: --set request_settings.x: ",
        ),
        (("deployment", "create", "-f", "blue.yml", "--set", "bogus.key=1"), 2, "one of: adapters, allow_pickle"),
        (
            ("deployment", "create", "-f", "blue.yml", "--set", "provisioning_state=Failed"),
            2,
            "there is no 'provisioning_state'",
        ),
        (("deployment", "create", "-f", "blue.yml", "--model", "./none"), 1, "at --model\n"),
        (("deployment", "create", "-f", "blue.yml", "--set", "model.path=none"), 1, "at --set model.path\n"),
        (("deployment", "create", "-e", "factors", "--set", "name=../x"), 1, "at --set name\n"),
        (("deployment", "show", "-n", "blue", "-e", "gone"), 1, "There is no endpoint 'gone'"),
        (("deployment", "scale", "-n", "blue", "-e", "gone"), 1, "There is no endpoint 'gone'"),
        (("endpoint", "update", "--traffic", "a=1"), 2, "--name is missing"),
        (("endpoint", "update", "-n", "gone", "--traffic", "a=1"), 1, "There is no endpoint 'gone'"),
        (("endpoint", "invoke", "-n", "gone", "-r", "nothing.json"), 2, "--request-file nothing.json"),
        (("endpoint", "create", "-n", "../x"), 1, "is no name of an endpoint"),
        (("endpoint", "delete", "-n", "gone", "-y"), 1, "There is no endpoint 'gone'"),
    ):
        found, out, err = pf(*words)
        assert (found, out) == (code, "") and said in err, (words, err)
    assert store.list() == []


def test_keys_of_properties_may_have_dots(pf: Pf, store: EndpointStore) -> None:
    words = ("properties.pf.requests_per_minute=302", 'tags."cost.center"=7', "tags['a b']=c", "tags.team=search")
    assert pf("endpoint", "create", "-f", "endpoint.yml", "--set", *words)[0] == 0
    kept = store.get("factors")
    assert kept.properties == {"pf.requests_per_minute": "302"}
    assert kept.tags == {"cost.center": "7", "a b": "c", "team": "search"}


def test_a_part_of_what_is_shown(pf: Pf) -> None:
    for name in ("one", "two"):
        pf("endpoint", "create", "-n", name, "--tags", f"team={name}s")
    assert pf("endpoint", "list", "--query", "[].name", "-o", "tsv")[1] == "one\ntwo\n"
    assert json.loads(pf("endpoint", "list", "--query", "[?tags.team=='twos'].name | [0]")[1]) == "two"
    assert json.loads(pf("endpoint", "list", "--query", "length(@)")[1]) == 2
    table = pf("endpoint", "list", "--query", "[].{n: name, t: tags.team}", "-o", "table")[1].splitlines()
    assert [line.split() for line in table] == [["N", "T"], ["one", "ones"], ["two", "twos"]]
    assert pf("endpoint", "list", "--query", "[].[name, tags.team]", "-o", "tsv")[1] == "one\tones\ntwo\ttwos\n"
    code, out, err = pf("endpoint", "show", "-n", "one", "--query", "scoring_url", "-o", "tsv")
    assert (code, out) == (0, "") and "there is no such field; there are: id, name, auth_mode" in err


def test_two_updates_at_once_end_as_one_of_them(pf: Pf, store: EndpointStore) -> None:
    """Each command either is done whole, or says that somebody else was quicker."""
    pf("endpoint", "create", "-f", "endpoint.yml")
    codes: list[int] = []
    words = [["endpoint", "update", "-n", "factors", "--set", f"tags.by={n}", f"description=by {n}"] for n in range(6)]
    threads = [threading.Thread(target=lambda one=one: codes.append(main(one))) for one in words]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    kept = store.get("factors")
    assert kept.description == f"by {kept.tags['by']}" and kept.revision == 1 + codes.count(0)
    assert {*codes} <= {0, 1}


def test_a_model_of_another_version_is_deployed_with_a_warning_that_stays(pf: Pf, project: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.LogisticRegression().fit([[1.0], [2.0]], [0, 1])
    here = pytest.importorskip("sklearn").__version__
    written = "0." + "9" * (len(here) - 2)
    (project / "model.pkl").write_bytes(pickle.dumps(model).replace(here.encode(), written.encode()))
    pf("endpoint", "create", "-n", "factors")
    words = ("-n", "blue", "-e", "factors", "--model", "./model.pkl", "--allow-pickle")
    code, out, err = pf("deployment", "create", *words)
    assert code == 0, err
    assert f"written with scikit-learn {written}, and here is {here}" in err.replace("\n", " ")
    (warning,) = json.loads(out)["warnings"]
    assert f"scikit-learn=={written} in the conda_file" in warning
    code, shown, _ = pf("deployment", "show", "-n", "blue", "-e", "factors", "-o", "yaml")
    (project / "shown.yml").write_text(shown)
    assert "warnings:" in shown
    code, _, err = pf("deployment", "update", "-f", "shown.yml")
    assert code == 0 and "'warnings'" not in err, err
