import json
import re

import pytest

from promptflow.exceptions import InvalidRunStatusError


def page_data(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_the_page_holds_everything_it_shows(client, echo, data, folder):
    run = client.run(flow=echo, data=data("1", "bad"), display_name="First try")
    path = client.runs.visualize(run, html_path=folder / "out/page.html")
    page = path.read_text()
    assert "<title>First try</title>" in page
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    assert "default-src 'none'" in page
    (shown,) = page_data(page)["runs"]
    assert (shown["completed"], shown["failed"], shown["status"]) == (1, 1, "Completed")
    good, bad = shown["lines"]
    assert (good["inputs"], good["outputs"]) == ({"x": "1"}, {"o": "<1>"})
    assert [node["name"] for node in good["nodes"]] == ["a"]
    assert bad["error"]["message"] == "Execution failure in 'a': (ValueError) bad row"
    assert "ValueError: bad row" in bad["error"]["trace"]


def test_several_runs_are_shown_side_by_side(client, echo, evaluation, data, folder):
    mapping = {"answer": "${data.x}", "truth": "${data.x}"}
    runs = [
        client.run(flow=echo, data=data("1")),
        client.run(flow=evaluation, data=data("1", "2"), column_mapping=mapping),
    ]
    page = client.runs.visualize([runs[0], runs[1].name], html_path=folder / "p.html").read_text()
    first, second = page_data(page)["runs"]
    assert (first["label"], second["label"]) == ("run 1", "run 2")
    assert second["metrics"] == {"accuracy": 1.0, "rows": 2}
    assert second["columns"] == {"inputs": ["answer", "truth"], "outputs": ["grade"]}


@pytest.mark.parametrize(
    "value", ["</script><script>alert(1)</script>", "<!--", "__JS__ __DATA__", "\u2028 & ' \"", "\ud800 lone"]
)
def test_no_value_becomes_markup(client, echo, folder, value):
    (folder / "rows.jsonl").write_text(json.dumps({"x": value}))
    run = client.run(flow=echo, data="rows.jsonl", display_name=value if value.isprintable() else None)
    page = client.runs.visualize(run, html_path=folder / "p.html").read_text()
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert "<!--" not in page.partition("<script")[2].partition("</script>")[0]
    assert page_data(page)["runs"][0]["lines"][0]["inputs"]["x"] == value


def test_a_run_that_is_not_completed_is_refused(client, echo, data):
    run = client.run(flow=echo, data=data({"y": 1}))
    with pytest.raises(InvalidRunStatusError, match="not completed"):
        client.runs.visualize(run, html_path="p.html")


def test_long_texts_and_many_rows_are_cut(client, echo, data, folder, monkeypatch):
    from promptflow.client.visualize import content

    monkeypatch.setattr(content, "MAX_ROWS", 3)
    run = client.run(flow=echo, data=data("x" * 50_000, "bad", "2", "3", "bad"))
    page = client.runs.visualize(run, html_path=folder / "p.html").read_text()
    (shown,) = page_data(page)["runs"]
    assert [line["number"] for line in shown["lines"]] == [0, 1, 4]
    assert page_data(page)["truncated"] == "2 completed rows left out"
    assert len(shown["lines"][0]["inputs"]["x"]) < 21_000
