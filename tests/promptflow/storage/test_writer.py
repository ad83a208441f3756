from datetime import datetime
from pathlib import Path

import pytest

from promptflow.contracts.multimedia import Image
from promptflow.contracts.run import FlowRunInfo, LineResult, RunInfo, Status
from promptflow.exceptions import WorkspaceError
from promptflow.storage.folder import RunFolder
from promptflow.storage.writer import SMALL, RunWriter

NOW = datetime(2026, 1, 2, 3, 4, 5)


def line(number: int, output, status: Status = Status.Completed) -> LineResult:
    node = RunInfo(
        "a", "r", f"r_a_{number}", status, {}, output, None, None, f"r_{number}", NOW, NOW, number, system_metrics={}
    )
    info = FlowRunInfo(
        f"r_{number}", status, None, {"x": number}, output, None, None, "r", "r", None, "default_flow_id", NOW, NOW,
        number, system_metrics={},
    )  # fmt: skip
    return LineResult(output, {}, info, {"a": node})


def written(folder: Path, results: list[LineResult], total: int) -> RunFolder:
    writer = RunWriter(folder)
    writer.expect(total)
    writer.start("r")
    for result in results:
        writer.add_line(result, {})
    writer.close()
    return RunFolder(folder)


@pytest.mark.parametrize("totals", [(SMALL + 1, 2), (2, SMALL + 1), (SMALL + 1, SMALL + 1)])
def test_a_folder_is_used_again(tmp_path, totals):
    written(tmp_path, [line(n, {"o": f"old {n}"}) for n in range(5)], totals[0])
    folder = written(tmp_path, [line(n, {"o": f"new {n}"}) for n in (1, 0)], totals[1])
    assert list(folder.outputs()) == [{"line_number": n, "o": f"new {n}"} for n in (0, 1)]
    assert list(folder.inputs()) == [{"line_number": n, "x": n} for n in (0, 1)]
    assert [record["output"] for record in folder.lines()] == [{"o": "new 0"}, {"o": "new 1"}]


@pytest.mark.parametrize("total", [2, SMALL + 1])
@pytest.mark.parametrize(
    ("output", "row"),
    [
        ({}, {}),
        ({"a": 1, "b": [None]}, {"a": 1, "b": [None]}),
        ({"line_number": "theirs", "a": 1}, {"a": 1}),
        ("a text", {"output": "a text"}),
        (None, {"output": None}),
        ({"note": 'an "image" in a text'}, {"note": 'an "image" in a text'}),
    ],
)
def test_both_files_of_outputs_say_the_same(tmp_path, total, output, row):
    folder = written(tmp_path, [line(0, output)], total)
    for name in ("outputs.jsonl", "flow_outputs/output.jsonl"):
        (folder.path / name).replace(folder.path / "outputs.jsonl")
        assert list(folder.outputs()) == [{"line_number": 0, **row}]


@pytest.mark.parametrize("total", [2, SMALL + 1])
def test_images_are_beside_the_one_file_and_absolute_in_the_other(tmp_path, total):
    folder = written(tmp_path, [line(1, {"o": Image(b"GIF87a")}), line(0, {"o": "none"})], total)
    none, absolute = folder.outputs()
    (file,) = absolute["o"].values()
    assert Path(file).read_bytes() == b"GIF87a" and Path(file).is_absolute()
    assert none == {"line_number": 0, "o": "none"}
    text = (folder.path / "flow_outputs/output.jsonl").read_text()
    assert f'"{Path(file).name}"' in text and len(text.splitlines()) == 2
    assert (folder.path / "flow_outputs" / Path(file).name).read_bytes() == b"GIF87a"


def test_a_node_counts_once_and_no_line_counts_after_a_failed_write(tmp_path, monkeypatch):
    writer = RunWriter(tmp_path)
    writer.expect(2)
    writer.start("r")
    first = line(0, {"o": 1})
    for _ in range(3):
        writer.add_node(first.node_run_infos["a"])
    writer.add_line(first, {})
    append = writer._journal.append

    def full(text: bytes) -> None:
        raise WorkspaceError("the disk is full")

    monkeypatch.setattr(writer._journal, "append", full)
    with pytest.raises(WorkspaceError):
        writer.add_node(line(1, {}).node_run_infos["a"])
    monkeypatch.setattr(writer._journal, "append", append)
    with pytest.raises(WorkspaceError, match="the disk is full"):  # its node failed for that reason, not for its own
        writer.add_line(line(1, {}, Status.Failed), {})
    writer.close()
    assert len((tmp_path / "journal/000000.log").read_bytes().splitlines()) == 3
    assert [record["index"] for record in writer.lines()] == [0]
