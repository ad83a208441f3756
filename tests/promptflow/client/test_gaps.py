"""Rows that lack a column which others have."""


def test_a_text_that_a_row_lacks_fails_its_line(client, echo, data):
    run = client.run(flow=echo, data=data("1", {"y": 2}))
    assert [row["o"] for row in run.folder.outputs()] == ["<1>"]
    assert "The value for flow input 'x' is not provided in line 1" in run.folder.error()["message"]
    assert "line 1 has no column data.x" in run.folder.log()


def test_the_old_way_is_back_with_compat(client, echo, data, monkeypatch):
    monkeypatch.setenv("PF_COMPAT", "1.18")
    run = client.run(flow=echo, data=data("1", {"y": 2}))
    assert [row["o"] for row in run.folder.outputs()] == ["<1>", "<nan>"]


def test_a_text_with_a_default_has_it_in_such_rows(client, echo, data):
    file = echo / "flow.dag.yaml"
    file.write_text(file.read_text().replace("x: {type: string}", "x: {type: string, default: d}"))
    run = client.run(flow=echo, data=data("1", {"y": 2}), column_mapping={"x": "${data.x}"})
    assert [row["o"] for row in run.folder.outputs()] == ["<1>", "<d>"]
