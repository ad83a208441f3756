import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from promptflow.client import PFClient
from promptflow.entities import Run
from promptflow.exceptions import (
    InvalidFlowError,
    InvalidRunStatusError,
    PathNotFoundError,
    RunArgumentError,
    RunExistsError,
    RunNotFoundError,
    UserErrorException,
    ValidationException,
)
from promptflow.storage.writer import BATCH_SIZE, SMALL
from promptflow.tracing import spool
from tests.promptflow import flowkit


def outputs(run: Run) -> list[dict]:
    return list(run.folder.outputs())


def test_a_run_keeps_inputs_outputs_and_records(client, echo, data):
    run = client.run(flow=echo, data=data("1", "2"))
    assert run.status == "Completed"
    assert outputs(run) == [{"o": "<1>", "line_number": 0}, {"o": "<2>", "line_number": 1}]
    assert list(run.folder.inputs()) == [{"x": "1", "line_number": 0}, {"x": "2", "line_number": 1}]
    names = {p.relative_to(run.folder.path).as_posix() for p in run.folder.path.rglob("*") if p.is_file()}
    assert names == {
        "flow_artifacts/000000000_000000000.jsonl",
        "flow_artifacts/000000001_000000001.jsonl",
        "flow_outputs/output.jsonl",
        "inputs.jsonl",
        "journal/000000.log",
        "lock",
        "logs.txt",
        "meta.json",
        "metrics.json",
        "node_artifacts/a/000000000.jsonl",
        "node_artifacts/a/000000001.jsonl",
        "outputs.jsonl",
        "snapshot/a.py",
        "snapshot/echo.py",
        "snapshot/flow.dag.yaml",
    }
    record = json.loads((run.folder.path / "flow_artifacts/000000001_000000001.jsonl").read_text())
    assert record["run_info"]["output"] == {"o": "<2>"}
    assert record["run_info"]["run_id"] == f"{run.name}_1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", record["run_info"]["start_time"])


def test_the_record_of_a_run(client, echo, data):
    file = data("1", "bad")
    run = client.run(
        flow=echo,
        data=file,
        name="mine",
        display_name="${variant_id} of ${run}",
        tags={"team": "search"},
        column_mapping={"x": "${data.x}"},
    )
    shown = client.runs.get("mine")._to_dict()
    assert shown["properties"] == {
        "flow_path": echo.as_posix(),
        "output_path": run.folder.path.as_posix(),
        "column_mapping": {"x": "${data.x}"},
        "system_metrics": {
            "total_tokens": 0,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "duration": run.properties["system_metrics"]["duration"],
        },
    }
    assert (shown["name"], shown["display_name"], shown["flow_name"]) == ("mine", "variant_0 of ${run}", "echo")
    assert (shown["data"], shown["tags"]) == (file.as_posix(), {"team": "search"})
    assert shown["error"]["message"] == (
        "Failed to run 1/2 lines. First error message is: Execution failure in 'a': (ValueError) bad row"
    )
    assert shown["error"]["innerError"]["innerError"]["code"] == "BulkRunException"
    assert "debugInfo" not in run._to_dict(exclude_debug_info=True)["error"]
    assert run.properties["system_metrics"]["__pf__.lines.failed"] == 1
    assert run.properties["system_metrics"]["__pf__.nodes.a.completed"] == 1


def test_names_are_made_of_flow_variant_and_time(client, echo, data):
    run = client.run(flow=echo, data=data("1"))
    assert re.fullmatch(r"echo_variant_0_\d{8}_\d{6}_\d{6}", run.name)
    assert run.display_name == run.name


def test_all_rows_may_fail_and_the_run_completes(client, echo, data):
    run = client.run(flow=echo, data=data("bad", "bad"))
    assert run.status == "Completed"
    assert client.runs.details_rows(run) == [
        {"inputs.x": "bad", "inputs.line_number": 0},
        {"inputs.x": "bad", "inputs.line_number": 1},
    ]
    assert run.folder.error()["code"] == "UserError"
    assert "bad row" in (run.folder.path / "flow_logs/000000001.log").read_text()


def test_details_show_failed_rows(client, echo, data):
    run = client.run(flow=echo, data=data("1", "bad", "3"))
    rows = client.runs.details_rows(run)
    assert [row["outputs.o"] for row in rows] == ["<1>", "(Failed)", "<3>"]
    assert len(client.runs.details_rows(run, max_results=2)) == 2
    with pytest.raises(RunArgumentError, match="positive integer"):
        client.runs.details_rows(run, max_results=0)


def test_details_as_a_table_guess_types(client, echo, data):
    pytest.importorskip("pandas")
    run = client.run(flow=echo, data=data("1", "bad"))
    table = client.get_details(run)
    assert list(table.columns) == ["inputs.x", "inputs.line_number", "outputs.o"]
    assert table["outputs.o"].tolist() == ["<1>", "(Failed)"]
    assert len(client.get_details(run, max_results=1)) == 1


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"x": "${data.n.p}"}, r"\$\{data\.n\.p\}"),
        ({"x": "${run.outputs.o}"}, r"\$\{run\.outputs\.o\}"),
    ],
)
def test_a_mapping_that_finds_nothing_fails_the_run(client, echo, data, mapping, message):
    run = client.run(flow=echo, data=data({"x": "1", "n": {"p": 5}}), column_mapping=mapping)
    assert run.status == "Failed"
    assert re.search(message, run.folder.error()["message"])
    assert run.properties["system_metrics"] == {}
    assert client.runs.details_rows(run) == []
    with pytest.raises(InvalidRunStatusError):
        client.get_metrics(run)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", "", "Couldn't find any inputs data"),
        ("bad.jsonl", '{"x": 1}\n{no}\n', r"bad\.jsonl:2"),
        ("words.txt", "no data\n", "Couldn't find any inputs data"),
    ],
)
def test_data_that_cannot_be_read_fails_the_run(client, echo, folder, name, content, message):
    (folder / name).write_text(content)
    run = client.run(flow=echo, data=folder / name)
    assert run.status == "Failed"
    assert re.search(message, run.folder.error()["message"])


def test_what_was_asked_wrongly_is_raised_and_not_recorded(client, echo, data):
    file = data("1")
    for error, arguments in [
        (RunArgumentError, {"flow": None, "data": file}),
        (RunArgumentError, {"flow": echo}),
        (FileNotFoundError, {"flow": echo, "data": "nope.jsonl"}),
        (PathNotFoundError, {"flow": echo, "data": "nope.jsonl"}),
        (UserErrorException, {"flow": "nope", "data": file}),
        (UserErrorException, {"flow": echo, "data": file, "run": "nope"}),
        (InvalidFlowError, {"flow": echo, "data": file, "variant": "${a.v9}"}),
        (InvalidFlowError, {"flow": echo, "data": file, "connections": {"zz": {"connection": "c"}}}),
        (ValidationException, {"flow": echo, "data": file, "column_mapping": {"x": "constant"}}),
        (ValidationException, {"flow": echo, "data": file, "name": "../up"}),
        (RunArgumentError, {"flow": echo, "resume_from": "r"}),
    ]:
        with pytest.raises(error):
            client.run(**arguments)
    assert client.runs.list() == []


def test_a_name_is_taken_once(client, echo, data):
    client.run(flow=echo, data=data("1"), name="mine")
    with pytest.raises(RunExistsError, match="'mine' already exists"):
        client.run(flow=echo, data=data("2"), name="mine")
    assert outputs(client.runs.get("mine"))[0]["o"] == "<1>"


def test_an_input_with_a_default_keeps_it_where_no_column_is_mapped_to_it(client, folder, data):
    flow = flowkit.dag(
        folder / "f",
        """
        inputs:
          x: {type: string, default: kept}
        outputs:
          o: {type: string, reference: "${a.output}"}
        nodes:
        - {name: a, type: python, source: {type: code, path: echo.py}, inputs: {x: "${inputs.x}"}}
        """,
    )
    file = data("given")
    assert outputs(client.run(flow=flow, data=file))[0]["o"] == "kept"
    assert outputs(client.run(flow=flow, data=file, column_mapping={"x": "${data.x}"}))[0]["o"] == "given"


def test_an_evaluation_reads_the_outputs_of_a_run(client, echo, evaluation, data):
    file = data("1", "bad", "3")
    base = client.run(flow=echo, data=file)
    run = client.run(
        flow=evaluation,
        data=file,
        run=base,
        column_mapping={"answer": "${run.outputs.o}", "truth": "${data.x}"},
    )
    assert client.get_metrics(run) == {"accuracy": 1.0, "rows": 2}
    assert [row["inputs.line_number"] for row in client.runs.details_rows(run)] == [0, 2]
    assert run._to_dict()["run"] == base.name
    again = client.run(
        flow=evaluation, run=base.name, column_mapping={"answer": "${run.outputs.o}", "truth": "${run.inputs.x}"}
    )
    assert client.get_metrics(again)["rows"] == 2


def test_an_aggregation_that_fails_leaves_the_lines(client, evaluation, data):
    (evaluation / "total.py").write_text(
        "from promptflow.core import tool\n@tool\ndef total(grades: list):\n    raise ValueError('sum')\n"
    )
    run = client.run(flow=evaluation, data=data("1"), column_mapping={"answer": "${data.x}", "truth": "${data.x}"})
    assert run.status == "Completed"
    assert client.get_metrics(run) == {}
    assert run.folder.error()["message"] == "First error message is: Execution failure in 'total': (ValueError) sum"
    assert run.properties["system_metrics"]["__pf__.nodes.total.failed"] == 1


def test_resume_runs_only_what_did_not_complete(client, echo, evaluation, data):
    (evaluation / "grade.py").write_text(
        "from promptflow.core import tool\n"
        "import pathlib\n"
        "log = pathlib.Path(__file__).with_name('seen.txt')\n"
        "@tool\n"
        "def grade(answer: str, truth: str):\n"
        "    with log.open('a') as file:\n"
        "        file.write(answer)\n"
        "    if answer == 'b' and log.read_text().count('b') == 1:\n"
        "        raise ValueError('the first time')\n"
        "    return 'ok'\n"
    )
    mapping = {"answer": "${data.x}", "truth": "${data.x}"}
    first = client.run(flow=evaluation, data=data("a", "b", "c"), column_mapping=mapping, display_name="shown")
    assert client.get_metrics(first)["rows"] == 2
    second = client.run(resume_from=first, name="again")
    assert sorted((evaluation / "seen.txt").read_text()) == ["a", "b", "b", "c"]
    assert client.get_metrics(second) == {"accuracy": 1.0, "rows": 3}
    assert [row["line_number"] for row in outputs(second)] == [0, 1, 2]
    assert second.properties["resume_from"] == first.name
    assert second.display_name == "shown"
    assert next(second.folder.lines())["root_run_id"] == "again"


def test_large_runs_have_a_journal_alone(client, echo, data):
    count = SMALL + 1
    run = client.run(flow=echo, data=data(*[str(n) for n in range(count - 1)], "bad"))
    folder = run.folder
    assert json.loads((folder.path / "meta.json").read_text()) == {"batch_size": BATCH_SIZE}
    assert not list((folder.path / "flow_artifacts").iterdir()) and not (folder.path / "node_artifacts").exists()
    assert [record["index"] for record in folder.lines()] == list(range(count))
    assert all(list(nodes) == ["a"] and nodes["a"]["index"] == r["index"] for r, nodes in folder.lines_with_nodes())
    assert [row["o"] for row in folder.outputs()] == [f"<{n}>" for n in range(count - 1)]
    assert (folder.path / "outputs.jsonl").samefile(folder.path / "flow_outputs/output.jsonl")
    assert "bad row" in (folder.path / "flow_logs/000000000_000000999.log").read_text()
    assert client.run(resume_from=run).properties["system_metrics"]["__pf__.lines.completed"] == count - 1


def test_the_journal_holds_the_same_records_as_the_files_of_a_small_run(client, echo, data):
    run = client.run(flow=echo, data=data("1", "bad", {"x": "3", "more": [1.5, None, "ä"]}))
    from_journal = list(run.folder.lines_with_nodes())
    shutil.rmtree(run.folder.journal)
    assert from_journal == list(run.folder.lines_with_nodes())
    assert [list(nodes) for _, nodes in from_journal] == [["a"]] * 3
    assert list(from_journal[0][0]) == list(next(run.folder.lines()))


def test_runs_are_listed_archived_changed_and_deleted(client, echo, data):
    first, second = (client.run(flow=echo, data=data("1"), name=name) for name in ("first", "second"))
    assert [run.name for run in client.runs.list()] == ["second", "first"]
    assert [run.name for run in client.runs.list(1)] == ["second"]
    client.runs.archive(first)
    assert [run.name for run in client.runs.list()] == ["second"]
    assert [run.name for run in client.runs.list(archived_only=True)] == ["first"]
    assert len(client.runs.list(include_archived=True)) == 2
    client.runs.restore("first")
    assert client.runs.update("first", display_name="new", tags={"k": "v"}).tags == {"k": "v"}
    assert client.runs.get("first").display_name == "new"
    client.runs.delete("first")
    assert not first.folder.exists()
    with pytest.raises(RunNotFoundError, match="'first' cannot be found"):
        client.runs.get("first")


def test_runs_are_found_by_the_beginning_of_a_name_and_by_age(client, echo, data):
    for name in ("alpha", "beta"):
        client.run(flow=echo, data=data("1"), name=name)
    assert client.runs.find("al").name == "alpha"
    assert client.runs.find("@latest").name == "beta"
    assert client.runs.find("@latest~1").name == "alpha"
    for missing in ("gamma", "@latest~2"):
        with pytest.raises(RunNotFoundError):
            client.runs.find(missing)


def test_a_run_is_streamed(client, echo, data, capsys):
    run = client.run(flow=echo, data=data("1"))
    client.stream(run)
    printed = capsys.readouterr().out
    assert "Finished 1 / 1 lines" in printed
    assert f'Run name: "{run.name}"\nRun status: "Completed"' in printed
    failed = client.run(flow=echo, data=data({"y": 1}))
    with pytest.raises(InvalidRunStatusError, match="mapping relations"):
        client.stream(failed)


def test_runs_are_kept_where_the_setting_says(client, echo, data, folder):
    client.workspace.settings.set("run.output_path", "${flow_directory}/kept")
    run = client.run(flow=echo, data=data("1"), name="here")
    assert run.folder.path == echo / "kept" / "here"
    assert not (run.folder.path / "snapshot/kept").exists()


def test_the_snapshot_honours_ignore_files(client, echo, data):
    (echo / ".gitignore").write_text("*.log\n/secret/\n!keep.log\n")
    (echo / "secret").mkdir()
    for name in ("a.log", "keep.log", "secret/key.txt", "notes.txt"):
        (echo / name).write_text(name)
    run = client.run(flow=echo, data=data("1"))
    kept = {p.relative_to(run.folder.path / "snapshot").as_posix() for p in (run.folder.path / "snapshot").rglob("*")}
    assert {"keep.log", "notes.txt", "flow.dag.yaml"} <= kept
    assert not kept & {"a.log", "secret", "secret/key.txt"}


def test_variants_and_environment_variables(client, folder, data):
    flow = flowkit.dag(
        folder / "f",
        """
        inputs:
          x: {type: string}
        outputs:
          o: {type: string, reference: "${a.output}"}
        environment_variables: {GREETING: hello, OTHER: there}
        nodes:
        - {name: a, use_variants: true}
        node_variants:
          a:
            default_variant_id: v0
            variants:
              v0: {node: {type: python, source: {type: code, path: env.py}, inputs: {x: "${inputs.x}", mark: "0"}}}
              v1: {node: {type: python, source: {type: code, path: env.py}, inputs: {x: "${inputs.x}", mark: "1"}}}
        """,
        env_py="""
        import os
        from promptflow.core import tool

        @tool
        def env(x: str, mark: str):
            return " ".join([os.environ["GREETING"], os.environ["OTHER"], x, mark])
        """,
    )
    file = data("you")
    assert outputs(client.run(flow=flow, data=file))[0]["o"] == "hello there you 0"
    run = client.run(flow=flow, data=file, variant="${a.v1}", environment_variables={"GREETING": "bye"})
    assert outputs(run)[0]["o"] == "bye there you 1"
    assert run.properties["node_variant"] == "${a.v1}"
    assert "_v1_" in run.name
    assert outputs(client.run(resume_from=run, name="resumed"))[0]["o"] == "bye there you 1"


def test_additional_includes_are_part_of_the_run(client, folder, echo, data):
    (folder / "shared").mkdir()
    (folder / "shared/words.py").write_text("WORD = 'shared'\n")
    (echo / "a.py").write_text(
        "from promptflow.core import tool\nfrom words import WORD\n@tool\ndef echo(x: str):\n    return WORD\n"
    )
    yaml = echo / "flow.dag.yaml"
    yaml.write_text(yaml.read_text() + "additional_includes:\n- ../shared/words.py\n")
    run = client.run(flow=echo, data=data("1"))
    assert outputs(run)[0]["o"] == "shared"
    assert (run.folder.path / "snapshot/words.py").exists()


def test_the_folder_of_a_run_is_taken_in(client, echo, data, folder):
    run = client.run(flow=echo, data=data("1", "bad"), name="made")
    elsewhere = folder / "elsewhere"
    run.folder.path.rename(elsewhere)
    client.runs.delete("made")
    taken = client.runs.import_folder(elsewhere, name="taken", tags={"from": "there"})
    assert (taken.status, taken.tags, taken.folder.path) == ("Completed", {"from": "there"}, elsewhere)
    assert [row["outputs.o"] for row in client.runs.details_rows(taken)] == ["<1>", "(Failed)"]
    with pytest.raises(RunExistsError):
        client.runs.import_folder(elsewhere, name="taken")
    with pytest.raises(ValidationException, match="no folder of a run"):
        client.runs.import_folder(folder)


def test_two_clients_share_one_workspace(client, echo, data):
    client.run(flow=echo, data=data("1"), name="mine")
    assert PFClient().runs.get("mine").status == "Completed"


def test_a_run_of_a_file_and_of_a_folder_are_the_same(client, echo, data):
    file = data("1")
    for flow in (echo / "flow.dag.yaml", str(echo), Path("echo")):
        assert outputs(client.run(flow=flow, data=file.name))[0]["o"] == "<1>"


def test_a_configuration_changes_the_settings_of_one_client(client, echo, data, folder):
    configured = PFClient(config={"run.output_path": str(folder / "kept")})
    assert configured.run(flow=echo, data=data("1"), name="a").folder.path == folder / "kept/a"
    assert client.run(flow=echo, data=data("1"), name="b").folder.path == client.workspace.runs_folder / "b"
    assert [run.name for run in client.runs.list()] == ["b", "a"]


def test_spans_belong_to_the_run_and_to_a_collection_named_as_the_flow(client, echo, evaluation, data, monkeypatch):
    monkeypatch.delitem(spool.resource, "collection", raising=False)
    base = client.run(flow=echo, data=data("1"), name="base")
    mapping = {"answer": "${run.outputs.o}", "truth": "${data.x}"}
    client.run(flow=evaluation, data=data("1"), run=base, column_mapping=mapping, name="eval")
    (trace,) = client.traces.store.list(run="base")
    assert [t.trace_id for t in client.traces.store.list(collection="echo")] == [trace.trace_id]
    root = client.traces.store.show(client.traces.store.list(run="eval")[0].trace_id)[0]
    assert root.attributes["referenced.batch_run_id"] == "base"
    assert client.traces.delete(run="base", dry_run=True) == 2
    assert client.traces.delete(run="base") == 2
    assert client.traces.store.list(run="base") == []


@pytest.mark.parametrize(
    "arguments",
    [{}, {"run": "r", "collection": "c"}, {"run": "r", "started_before": "2026-01-01"}, {"collection": "default"}],
)
def test_traces_are_deleted_by_run_or_collection(client, arguments):
    with pytest.raises(UserErrorException):
        client.traces.delete(**arguments)


KILLED = """
import os, signal, sys
from promptflow.client import PFClient
PFClient().run(flow="echo", data="data.jsonl", name="killed")
"""


def test_a_run_whose_process_died_is_resumed(client, echo, data, folder, monkeypatch):
    (echo / "a.py").write_text(
        "import os, pathlib, signal\n"
        "from promptflow.core import tool\n"
        "@tool\n"
        "def echo(x: str):\n"
        "    if x == '2' and not pathlib.Path('died').exists():\n"
        "        pathlib.Path('died').touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return x\n"
    )
    monkeypatch.setenv("PF_WORKER_COUNT", "1")
    data("0", "1", "2", "3")
    assert subprocess.run([sys.executable, "-c", KILLED], cwd=folder, check=False).returncode == -signal.SIGKILL
    killed = client.runs.get("killed")
    assert killed.status == "Interrupted"
    assert [row["line_number"] for row in outputs(killed)] == [0, 1]
    run = client.run(resume_from="killed")
    assert [row["o"] for row in outputs(run)] == ["0", "1", "2", "3"]
    assert run.properties["system_metrics"]["__pf__.lines.completed"] == 4


def test_a_run_that_goes_on_is_not_resumed(client, echo, data):
    (echo / "a.py").write_text(
        "from promptflow.core import tool\n"
        "from promptflow.client import PFClient\n"
        "@tool\n"
        "def echo(x: str):\n"
        "    PFClient().run(resume_from='mine')\n"
    )
    run = client.run(flow=echo, data=data("1"), name="mine")
    assert "not completed, got status Running" in run.folder.error()["message"]


INTERRUPTED = """
import os, signal
from promptflow.core import tool

@tool
def echo(x: str):
    if x == "1":
        os.kill(os.getpid(), signal.SIGINT)
        import time
        time.sleep(1)
    return x
"""


def test_ctrl_c_keeps_what_is_done(client, echo, data, monkeypatch):
    monkeypatch.setenv("PF_WORKER_COUNT", "1")
    (echo / "a.py").write_text(INTERRUPTED)
    run = client.run(flow=echo, data=data("0", "1", "2", "3"))
    assert run.status == "Canceled"
    assert [row["o"] for row in outputs(run)] == ["0", "1"]
    (echo / "a.py").write_text(INTERRUPTED.replace('"1"', '"never"'))
    assert [row["o"] for row in outputs(client.run(resume_from=run))] == ["0", "1", "2", "3"]


def test_a_disk_that_fills_up_fails_the_run_with_its_reason(client, echo, data, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    from promptflow.storage import writer as storage

    class FullDisk(storage.RunWriter):
        def add_line(self, *args, **kwargs):
            (self.path / "outputs.jsonl").symlink_to("/dev/full")
            super().add_line(*args, **kwargs)

    monkeypatch.setattr("promptflow.client.execute.RunWriter", FullDisk)
    run = client.run(flow=echo, data=data("1", "2"))
    assert run.status == "Failed"
    assert "the disk is full" in run.folder.error()["message"]


def test_runs_are_kept_in_any_database(workspace, echo, data):
    client = PFClient(workspace=workspace)
    run = client.run(flow=echo, data=data("1", "bad"), name="mine", tags={"a": "b"})
    assert (run.status, client.runs.get("mine").tags) == ("Completed", {"a": "b"})
    with pytest.raises(RunExistsError):
        client.run(flow=echo, data=data("1"), name="mine")
    assert client.run(resume_from="mine").properties["resume_from"] == "mine"
    assert len(client.runs.list()) == 2
