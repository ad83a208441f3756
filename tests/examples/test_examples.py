"""The examples do what their READMEs print."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from promptflow.client import PFClient
from promptflow.connections import CustomConnection
from promptflow.tooling.registry import installed_tools
from promptflow.workspace.yamlfile import load_yaml
from tests.console import Console, steps

FOLDER = Path(__file__).parents[2] / "examples"
PLAIN = [
    "batch-endpoint",
    "conditional",
    "evaluate-labels",
    "flex-class",
    "flex-function",
    "image",
    "package-tool",
    "strong-connection",
]
WITH_MODEL = ["chat", "prompt-variants", "prompty", "streaming", "sub-flow", "triage"]
NEEDS = {
    **dict.fromkeys(WITH_MODEL, "onnxruntime"), "adapters": "peft", "endpoint-sklearn": "skops",
    "langchain": "langchain_core", "rag": "numpy",
}  # fmt: skip
ALL = [*PLAIN, *NEEDS]
FLOW_FILES = sorted(f for pattern in ("*.dag.yaml", "*.flex.yaml", "*.prompty") for f in FOLDER.rglob(pattern))


@pytest.mark.parametrize("name", ALL)
def test_the_commands_of_an_example_print_what_its_readme_says(name: str, console: Console) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    there = replace(console, folder=console.folder / name)
    for step in steps((there.folder / "README.md").read_text(encoding="utf-8")):
        printed = there.run(step.command)
        assert step.matches(printed), f"$ {step.command}\n{printed}"


def test_every_example_is_tested_and_listed() -> None:
    folders = {f.name for f in FOLDER.iterdir() if f.is_dir() and not f.name.startswith((".", "_"))}
    listed = set(re.findall(r"\]\(([\w-]+)/README\.md\)", (FOLDER / "README.md").read_text(encoding="utf-8")))
    assert folders == listed
    assert folders - {"embedded-model"} == set(ALL)
    for name in ALL:
        assert steps((FOLDER / name / "README.md").read_text(encoding="utf-8")), f"{name}/README.md shows no command"


@pytest.mark.parametrize("file", FLOW_FILES, ids=lambda f: str(f.relative_to(FOLDER)))
def test_the_flow_of_an_example_is_valid(file: Path, monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    if "langchain" in file.parts:
        pytest.importorskip("langchain_core")
    monkeypatch.syspath_prepend(site.partition(":")[0])
    installed_tools.cache_clear()  # a test before this one may have asked without the package
    client = PFClient()
    client.connections.create_or_update(CustomConnection(name="shop_webhook", secrets={"signing_key": "x"}))
    result = client.flows.validate(file)
    assert result.passed, result


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("flow.dag.yaml")), ids=lambda f: str(f.relative_to(FOLDER)))
def test_editors_find_the_schema_of_an_example_and_nothing_wrong(file: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    text = file.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named, "the first line names the schema"
    schema = json.loads((file.parent / named[1]).read_text(encoding="utf-8"))
    jsonschema.validate(load_yaml(file)[0], schema)


def test_a_cleaned_photo_says_nothing_of_where_it_was_taken(console: Console) -> None:
    there = replace(console, folder=console.folder / "image")
    there.run("pf run create --flow basic --data photos.jsonl --name cleaned")
    photos = list((console.home / ".runs" / "cleaned" / "flow_artifacts").glob("*.png"))
    secret = b"52.5200"
    assert sorted(secret in photo.read_bytes() for photo in photos) == [False, False, False, True]


def test_a_picture_that_a_test_made_is_still_there_afterwards(console: Console) -> None:
    there = replace(console, folder=console.folder / "image")
    tested = there.run("pf flow test --flow basic --inputs photo=$PWD/photos/mug.png")
    assert Path(json.loads(tested)["photo"]["data:image/png;path"]).read_bytes().startswith(b"\x89PNG")


def test_a_signing_key_is_never_shown(console: Console) -> None:
    there = replace(console, folder=console.folder / "strong-connection")
    there.run("pf connection create -f connection.yaml --set name=quiet_one secrets.signing_key=open-sesame")
    assert "open-sesame" not in there.run("pf connection show -n quiet_one; pf connection list")


def test_no_row_of_the_demo_was_used_to_make_the_model() -> None:
    with (FOLDER / "prompt-variants" / "messages.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["message"] for row in csv.DictReader(file)}
    model = FOLDER / "embedded-model"
    read = "".join(file.read_text(encoding="utf-8") for file in model.glob("*.jsonl"))
    seen = {json.loads(line)["text"] for line in read.splitlines()}
    phrases = "".join(file.read_text(encoding="utf-8") for file in (model / "phrases").iterdir()).lower()
    assert len(rows) >= 30
    assert not rows & seen
    assert [row for row in rows if row.lower() in phrases] == []
