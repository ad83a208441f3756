import os
from pathlib import Path

import pytest

from promptflow.storage.snapshot import changed_files, copy_snapshot, fingerprint


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    folder = tmp_path / "flow"
    for name in (
        "flow.dag.yaml",
        "a.py",
        "prompts/ask.jinja2",
        "data/rows.bin",
        "__pycache__/a.pyc",
        "runs/r/outputs.jsonl",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_snapshot_is_there_whole_or_not_at_all(flow, tmp_path):
    target = tmp_path / "run" / "snapshot"
    target.parent.mkdir()
    (target.parent / ".snapshot.part").mkdir()  # of a process that was killed
    (target.parent / ".snapshot.part" / "half").touch()
    copy_snapshot(flow, target, leave_out=flow / "runs", extra={"a.py": "kept", "flow.flex.yaml": "entry: a:f\n"})
    assert names(target.parent) == [
        "snapshot/a.py", "snapshot/data/rows.bin", "snapshot/flow.dag.yaml", "snapshot/flow.flex.yaml",
        "snapshot/prompts/ask.jinja2",
    ]  # fmt: skip
    assert (target / "a.py").read_text() == "a.py"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda flow: None, []),
        (lambda flow: (flow / "a.py").write_text("A.PY"), ["a.py was changed"]),
        (lambda flow: os.utime(flow / "a.py", (1, 1)), []),
        (lambda flow: (flow / "prompts/ask.jinja2").unlink(), ["prompts/ask.jinja2 was removed"]),
        (lambda flow: (flow / "prompts/new.py").touch(), ["prompts/new.py is new"]),
        (lambda flow: (flow / "run.log").touch(), []),
        (lambda flow: (flow / "runs/r/more.py").touch(), []),
        (lambda flow: (flow / "__pycache__/b.py").touch(), []),
        (lambda flow: (flow / ".gitignore").write_text("data/"), ["data/rows.bin was removed"]),
    ],
)  # fmt: skip
def test_what_was_changed_is_named(flow, tmp_path, change, told):
    copy_snapshot(flow, tmp_path / "snapshot", leave_out=flow / "runs", extra={"flow.flex.yaml": ""})
    change(flow)
    assert changed_files(flow, tmp_path / "snapshot", leave_out=flow / "runs", extra=["flow.flex.yaml"]) == told


def test_a_fingerprint_tells_what_was_written(tmp_path):
    file = tmp_path / "d" / "rows.jsonl"
    file.parent.mkdir()
    file.write_text("a")
    for path in (file, file.parent):
        before = fingerprint(path)
        assert before == fingerprint(path)
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime + 1))
        assert fingerprint(path) not in (None, before)
    assert fingerprint(tmp_path / "none") is None
