from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptflow.cli.gates import parse_fail_on
from tests.promptflow.cli.conftest import Pf, rows

CREATE = ["run", "create", "--flow", "f", "--column-mapping", "x=${data.x}"]


def test_create_prints_the_record_and_nothing_else(pf: Pf, project: Path) -> None:
    code, out, err = pf(*CREATE, "--data", "good.jsonl", "--name", "r")
    run = json.loads(out)
    assert code == 0
    assert (run["name"], run["status"], run["failed_lines"]) == ("r", "Completed", 0)
    assert list(run)[2:4] == ["status", "failed_lines"]


def test_failed_rows_are_exit_3_and_say_how_to_resume(pf: Pf, project: Path) -> None:
    code, out, err = pf(*CREATE, "--data", "bad.jsonl", "--name", "r")
    assert code == 3
    assert json.loads(out)["status"] == "Completed"
    assert "1 of 4 rows failed; run them again with: pf run retry r" in err
    assert "the first error: " in err


def test_an_aggregation_that_failed_is_exit_1_and_said(pf: Pf, project: Path) -> None:
    (project / "sum.py").write_text("class Sum:\n    def __call__(self, x: str) -> str:\n        return x\n"
                                    "    def __aggregate__(self, results: list):\n        return 1 / 0\n")  # fmt: skip
    words = ["run", "create", "--flow", "sum:Sum", "--data", "good.jsonl", "--column-mapping", "x=${data.x}"]
    code, out, err = pf(*words)
    assert (code, json.loads(out)["status"]) == (1, "Completed")
    assert "the aggregation failed: " in err


@pytest.mark.parametrize(
    ("rule", "code"), [("any", 3), ("never", 0), ("1", 3), ("2", 0), ("25%", 3), ("26%", 0), ("0.5%", 3)]
)
def test_how_many_failed_rows_count(pf: Pf, project: Path, rule: str, code: int) -> None:
    assert pf(*CREATE, "--data", "bad.jsonl", "--fail-on", rule)[0] == code


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "0%", "1.5", "%"])
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(Exception, match="expected any, never"):
        parse_fail_on(text)


def test_compatibility_brings_exit_0_back(pf: Pf, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PF_COMPAT", "1.18")
    assert pf(*CREATE, "--data", "bad.jsonl")[0] == 0


def test_a_run_that_could_not_start_is_exit_1(pf: Pf, project: Path) -> None:
    code, out, err = pf("run", "create", "--flow", "f", "--data", "good.jsonl", "--column-mapping", "x=${data.nope}")
    assert code == 1
    assert json.loads(out)["status"] == "Failed"
    assert "error: " in err


def test_a_run_from_a_file_with_flags_over_it(pf: Pf, project: Path) -> None:
    (project / "sub").mkdir()
    rows(project / "sub" / "other.jsonl", "only")
    (project / "sub" / "run.yaml").write_text(
        "flow: ../f\ndata: ../good.jsonl\ncolumn_mapping:\n  x: ${data.x}\ntags: {a: b}\n", encoding="utf-8"
    )
    words = ["-f", "sub/run.yaml", "--data", "other.jsonl", "--name", "r", "--set", "tags.c=d", "display_name=Mine"]
    code, out, err = pf("run", "create", *words)
    run = json.loads(out)
    assert code == 0, err
    assert run["data"] == str(project / "sub" / "other.jsonl")
    assert (run["display_name"], run["tags"]) == ("Mine", {"a": "b", "c": "d"})


def test_a_dry_run_shows_the_specification_and_runs_nothing(pf: Pf, project: Path) -> None:
    code, out, err = pf(*CREATE, "--data", "good.jsonl", "--set", "tags.n=3", "--dry-run", "-o", "json")
    assert json.loads(out) == {
        "flow": "f", "data": "good.jsonl", "column_mapping": {"x": "${data.x}"}, "tags": {"n": 3},
    }  # fmt: skip
    assert json.loads(pf("run", "list")[1]) == []


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["--set", "tgas.x=1"], 2, "did you mean tags?"),
        (["--run", "none"], 1, "none"),
        (["--name", "r", "--data", "missing.jsonl"], 1, "missing.jsonl"),
    ],
)
def test_a_wrong_specification_makes_no_run(pf: Pf, project: Path, words: list[str], code: int, problem: str) -> None:
    found, out, err = pf("run", "create", "--flow", "f", "--data", "good.jsonl", *words)
    assert (found, out) == (code, "")
    assert problem in err
    assert json.loads(pf("run", "list")[1]) == []


def test_no_source_and_two_sources(pf: Pf, project: Path) -> None:
    assert "one of [file, flow, source]" in pf("run", "create")[2]
    assert "not several" in pf("run", "create", "--flow", "f", "--source", "g")[2]


def mend(project: Path) -> None:
    tool = project / "f" / "a.py"
    tool.write_text(tool.read_text().replace('x == "bad"', "False"), encoding="utf-8")


def test_a_new_run_of_what_failed(pf: Pf, project: Path) -> None:
    pf(*CREATE, "--data", "bad.jsonl", "--name", "first")
    mend(project)
    code, out, err = pf("run", "create", "--resume-from", "first", "--name", "second")
    run = json.loads(out)
    assert code == 0
    assert (run["name"], run["failed_lines"], run["properties"]["resume_from"]) == ("second", 0, "first")


def test_retry_runs_the_failed_rows_in_the_same_run(pf: Pf, project: Path) -> None:
    pf(*CREATE, "--data", "bad.jsonl", "--name", "first")
    assert pf("run", "retry", "first")[0] == 3
    mend(project)
    code, out, err = pf("run", "retry", "@latest")
    assert (code, out) == (1, "")
    assert "a.py was changed" in err and "--accept-changes" in err
    code, out, err = pf("run", "retry", "@latest", "--accept-changes")
    run = json.loads(out)
    assert (code, run["name"], run["failed_lines"], run["status"]) == (0, "first", 0, "Completed")
    assert "3 reused" in err


def test_a_run_that_is_complete_stays_as_it_is(pf: Pf, project: Path) -> None:
    shown = json.loads(pf(*CREATE, "--data", "good.jsonl", "--name", "r")[1])
    for verb in ("resume", "retry"):
        code, out, err = pf("run", verb, "r")
        assert (code, json.loads(out)) == (0, shown)


def test_the_folder_of_a_run_can_be_taken_in(pf: Pf, project: Path) -> None:
    run = json.loads(pf(*CREATE, "--data", "good.jsonl", "--name", "r")[1])
    (project / "elsewhere").symlink_to(run["properties"]["output_path"])
    code, out, err = pf("run", "create", "--source", "elsewhere", "--name", "taken", "--set", "tags.a=b")
    assert code == 0, err
    assert json.loads(out)["tags"] == {"a": "b"}
    assert [row["outputs.o"] for row in json.loads(pf("run", "show-details", "-n", "taken", "-o", "json")[1])] == [
        "<one>", "<two>", "<three>",
    ]  # fmt: skip


@pytest.fixture
def three(pf: Pf, project: Path) -> None:
    for name in ("alpha_1", "alpha_2", "beta"):
        assert pf(*CREATE, "--data", "good.jsonl", "--name", name)[0] == 0


@pytest.mark.parametrize(
    ("word", "name"),
    [("beta", "beta"), ("be", "beta"), ("@latest", "beta"), ("@latest~1", "alpha_2"), ("@latest~2", "alpha_1")],
)
def test_names_may_be_short(pf: Pf, three: None, word: str, name: str) -> None:
    assert json.loads(pf("run", "show", "-n", word)[1])["name"] == name


@pytest.mark.parametrize(
    ("word", "hint"), [("alpha", "alpha_2 or alpha_1"), ("bata", "beta"), ("zzz", "pf run list"), ("@latest~9", "")]
)
def test_names_that_mean_no_run(pf: Pf, three: None, word: str, hint: str) -> None:
    code, out, err = pf("run", "show", "-n", word)
    assert code == 1
    assert hint in err.splitlines()[-1]


def test_deleting_needs_a_yes_and_a_whole_name(pf: Pf, three: None) -> None:
    assert pf("run", "delete", "-n", "beta")[0] == 2
    code, out, err = pf("run", "delete", "-n", "be", "-y")
    assert (code, "did you mean beta?" in err) == (2, True)
    assert pf("run", "delete", "-n", "beta", "-y")[0] == 0
    assert pf("run", "show", "-n", "beta")[0] == 1


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("quiet", "beta"),
        ("tsv", "name\tstatus"),
        ("jsonl", '{"name": "beta"'),
        ("yaml", "- name: beta"),
        ("table", "NAME"),
    ],
)
def test_lists_in_every_format(pf: Pf, three: None, form: str, first: str) -> None:
    code, out, err = pf("run", "list", "-o", form)
    assert code == 0
    assert out.startswith(first)


def test_lists_paginate_and_hide_what_is_archived(pf: Pf, three: None) -> None:
    assert pf("run", "archive", "-n", "beta")[0] == 0
    assert pf("run", "list", "-o", "quiet")[1].split() == ["alpha_2", "alpha_1"]
    assert pf("run", "list", "-o", "quiet", "--archived-only")[1].split() == ["beta"]
    assert pf("run", "list", "-o", "quiet", "--include-archived", "-r", "2")[1].split() == ["beta", "alpha_2"]
    assert pf("run", "restore", "-n", "beta")[0] == 0
    assert len(json.loads(pf("run", "list", "--all-results")[1])) == 3


def test_updates_are_texts(pf: Pf, three: None) -> None:
    run = json.loads(pf("run", "update", "-n", "beta", "--set", "display_name=zz", "tags.k=7")[1])
    assert (run["display_name"], run["tags"]) == ("zz", {"k": "7"})
    code, out, err = pf("run", "update", "-n", "beta", "--set", "stauts=x")
    assert code == 2


def test_details_metrics_log_and_page(pf: Pf, three: None, project: Path) -> None:
    details = pf("run", "show-details", "-n", "beta")[1].splitlines()
    assert details[0].split() == ["INPUTS.X", "INPUTS.LINE_NUMBER", "OUTPUTS.O"]
    assert len(pf("run", "show-details", "-n", "beta", "-r", "1", "-o", "jsonl")[1].splitlines()) == 1
    assert json.loads(pf("run", "show-metrics", "-n", "beta")[1]) == {}
    code, out, err = pf("run", "stream", "-n", "beta")
    assert json.loads(out)["name"] == "beta"
    assert "Run Summary" in err
    assert pf("run", "visualize", "-n", "alpha_1,be", "--html-path", "v.html")[1].strip() == "v.html"
    assert "<html" in (project / "v.html").read_text()


def test_progress_is_on_stderr_and_can_be_silenced(pf: Pf, project: Path) -> None:
    assert "3/3 rows" in pf(*CREATE, "--data", "good.jsonl")[2]
    assert "3/3 rows" not in pf(*CREATE, "--data", "good.jsonl", "--no-progress")[2]
    code, out, err = pf(*CREATE, "--data", "good.jsonl", "-o", "quiet", "--name", "q")
    assert (out, "rows" in err) == ("q\n", False)
