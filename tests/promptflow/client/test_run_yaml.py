import pytest

from promptflow.client import load_run
from promptflow.exceptions import UserErrorException, ValidationException


@pytest.fixture
def run_yaml(folder, echo, data):
    data("1", name="rows.jsonl")

    (folder / "runs").mkdir()

    def write(text: str):
        (folder / "runs/run.yaml").write_text(text)
        return folder / "runs/run.yaml"

    return write


def test_paths_are_relative_to_the_file(client, run_yaml, echo, folder, monkeypatch):
    file = run_yaml(
        "$schema: ignored\nname: from_file\nflow: ../echo\ndata: ../rows.jsonl\n"
        "column_mapping: {x: '${data.x}'}\ntags: {a: b}\ndescription: d\n"
    )
    monkeypatch.chdir("/")
    run = client.runs.create_or_update(load_run(file))
    assert (run.name, run.status, run.tags, run.description) == ("from_file", "Completed", {"a": "b"}, "d")
    assert run.flow == echo


def test_overrides_win_over_the_file(run_yaml):
    file = run_yaml("name: n\nflow: ../echo\ndata: ../rows.jsonl\ncolumn_mapping: {x: '${data.x}'}\n")
    run = load_run(file, params_override=[{"name": "other"}, {"column_mapping.y": "${data.y}", "tags": {"k": "v"}}])
    assert run.name == "other"
    assert run.column_mapping == {"x": "${data.x}", "y": "${data.y}"}
    assert run.tags == {"k": "v"}


def test_environment_variables_and_init_come_from_files(run_yaml, folder):
    (folder / "runs/.env").write_text("A=1\nB='two words'\n")
    (folder / "runs/init.json").write_text('{"greeting": "hi"}')
    run = load_run(run_yaml("flow: ../echo\ndata: ../rows.jsonl\nenvironment_variables: .env\ninit: init.json\n"))
    assert run.environment_variables == {"A": "1", "B": "two words"}
    assert run.init == {"greeting": "hi"}


def test_unknown_keys_only_warn(run_yaml, caplog):
    load_run(run_yaml("flow: ../echo\nflw: typo\n"))
    assert "unknown key 'flw'" in caplog.text


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("data: ../rows.jsonl\n", UserErrorException, "'flow' is required"),
        ("- a\n", ValidationException, "no run"),
        ("flow: ../echo\nenvironment_variables: none.env\n", ValidationException, r"none\.env does not exist"),
        ("flow: ../echo\ninit: none.json\n", ValidationException, r"none\.json cannot be read"),
        ("flow: [\n", UserErrorException, r"run\.yaml"),
    ],
)
def test_a_broken_file_is_an_error(run_yaml, text, error, message):
    with pytest.raises(error, match=message):
        load_run(run_yaml(text))
