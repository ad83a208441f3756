"""Modules of Azure ML that scripts import, in their process."""

import asyncio
import json

import pytest

from catalog.assets import Assets
from serve.endpoints.spec import SCRIPT, Collection, Collector, Spec
from serve.scorers.collecting import left_to_gateway
from tests.serve.scorers.workers import worker
from tests.serve.supervisor.world import world

pytest.importorskip("pandas")
TEXT = """
import json, os
import mltable, pandas
from azureml.ai.monitoring import Collector
from azureml.ai.monitoring.context import BasicCorrelationContext
from azureml.core import Run
from azureml.core.model import Model

def init():
    global inputs, outputs, told
    told = []
    inputs = Collector(name="model_inputs", on_error=lambda error: told.append(str(error)))
    outputs = Collector(name="model_outputs")
    Run.get_context().log("metric", 1)

def run(raw):
    table = pandas.DataFrame(json.loads(raw))
    context = inputs.collect(table)
    outputs.collect(table * 2, context)
    inputs.collect([1])
    Collector(name="unknown").collect(table, BasicCorrelationContext(id="7"))
    there = mltable.load(os.environ["TABLE"]).to_pandas_dataframe()
    return {"id": context.get_id(), "told": told, "table": there, "model": os.path.basename(Model.get_model_path("any"))}
"""
TABLE = """
type: mltable
paths: [{pattern: "./*.csv"}]
transformations:
  - read_delimited: {delimiter: ";", header: all_files_same_headers, encoding: utf8}
  - keep_columns: [a, b]
  - convert_column_types: [{columns: b, column_type: float}]
  - take: 2
"""


@pytest.fixture
def spec(tmp_path):
    for name in ("code", "model", "table"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "one.bin").write_bytes(b"")
    (tmp_path / "table" / "MLTable").write_text(TABLE)
    (tmp_path / "table" / "one.csv").write_text("a;b;c\n1;2;3\n4;5;6\n7;8;9\n")
    (tmp_path / "code" / "score.py").write_text(TEXT)
    collections = {name: Collection() for name in ("model_inputs", "model_outputs", "request")}
    return Spec(
        SCRIPT, model_path=tmp_path / "model" / "one.bin", code=tmp_path / "code", scoring_script="score.py",
        variables={"TABLE": str(tmp_path / "table")}, collector=Collector(collections, rolling_rate="day"),
    )  # fmt: skip


def test_all_of_them(spec, tmp_path, monkeypatch):
    for name, value in {"PF_HOME_DIRECTORY": str(tmp_path / "home"), "PF_ENDPOINT_NAME": "shop",
                        "PF_DEPLOYMENT_NAME": "blue", "PF_INSTANCE": "0"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with worker(tmp_path / "w", spec) as blue:
        answer = blue.score([{"x": 1}, {"x": 2}])
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["table"] == [{"a": 1, "b": 2.0}, {"a": 4, "b": 5.0}] and found["model"] == "one.bin"
        assert "takes a pandas.DataFrame" in found["told"][0]
        for _ in range(50):
            blue.score([{"x": 1}])
    collected = tmp_path / "home" / "endpoints" / "collected" / "shop" / "blue"
    assert {folder.name for folder in collected.iterdir()} == {"model_inputs", "model_outputs"}
    for name, data in (("model_inputs", [{"x": 1}, {"x": 2}]), ("model_outputs", [{"x": 2}, {"x": 4}])):
        (file,) = (collected / name).rglob("*-0.jsonl")
        event = json.loads(file.read_text().splitlines()[0])
        assert (event["data"], event["correlationid"]) == (data, found["id"])
        assert event["type"] == f"azureml.inference.{name.removeprefix('model_')}"


def test_the_gateway_leaves_to_the_script_what_it_collects_itself(spec):
    left = left_to_gateway(spec)
    assert left is not None and list(left.collections) == ["request"]
    assert left_to_gateway(Spec(SCRIPT)) is None


def test_what_a_script_collects_becomes_a_data_asset(tmp_path):
    text = """
import pandas
from azureml.ai.monitoring import Collector
def run(raw):
    Collector(name="mine").collect(pandas.DataFrame({"x": [1]}))
    return 1
"""

    async def play():
        async with world(tmp_path) as it:
            await it.endpoint()
            collections = {"mine": Collection(name="kept"), "model_inputs": Collection()}
            await it.deploy("blue", text, collector=Collector(collections, rolling_rate="day"))
            await it.traffic({"blue": 100})
            assert (await it.ask())[0] == 200
            data = Assets(it.app.workspace, "data")
            await it.until(lambda: data.find("kept", "1") is not None, "it is a data asset")
            place = it.app.writer.folder / "shop" / "blue"
            await it.until(lambda: (place / "model_inputs").is_dir(), "the gateway keeps what the script does not")

    asyncio.run(play())


def test_files_whose_time_is_over_become_parquet(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    from datetime import UTC, datetime

    from serve.scorers import collecting

    class Clock:
        minute = 0

        @classmethod
        def now(cls, zone):
            return datetime(2026, 1, 31, 12, cls.minute, tzinfo=UTC)

    monkeypatch.setattr(collecting, "datetime", Clock)
    settings = Collector({"mine": Collection()}, rolling_rate="minute")
    kept = collecting.Collecting(settings, tmp_path, "/endpoints/shop", "3")
    for Clock.minute in (0, 0, 1):
        kept.keep("mine", [{"x": 1}], "id")
        kept.flush()
    names = sorted(file.name for file in (tmp_path / "mine").rglob("*") if file.is_file())
    assert names == ["00-3.parquet", "01-3.jsonl"]
    (file,) = (tmp_path / "mine").rglob("*.parquet")
    assert parquet.read_table(file)["data"].to_pylist() == ['[{"x":1}]', '[{"x":1}]']


def test_a_sample_is_kept_whole(tmp_path):
    from serve.scorers.collecting import Collecting

    settings = Collector({"one": Collection(), "two": Collection()}, sampling_rate=0.5, rolling_rate="day")
    kept = Collecting(settings, tmp_path, "/endpoints/shop", "0")
    for number in range(200):
        for name in ("one", "two"):
            kept.keep(name, [number], f"id-{number}")
    kept.flush()
    lines = (next((tmp_path / name).rglob("*.jsonl")).read_text().splitlines() for name in ("one", "two"))
    one, two = ([json.loads(line)["correlationid"] for line in found] for found in lines)
    assert one == two and 60 < len(one) < 140


def test_a_model_that_is_not_there_is_told_with_what_is(monkeypatch, tmp_path):
    from serve.scorers.script import SHIMS

    monkeypatch.syspath_prepend(str(SHIMS))
    from azureml.core.model import Model

    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="which has nothing"):
        Model.get_model_path("iris")
    (tmp_path / "iris").mkdir()
    assert Model.get_model_path("iris") == str(tmp_path / "iris")
