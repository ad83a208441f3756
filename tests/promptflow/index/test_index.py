"""Indexes made, searched, damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import PromptflowException, UserErrorException, ValidationException
from promptflow.index import Indexes, VectorIndexError, create_index
from promptflow.index.lookup import look_up, open_index
from promptflow.index.words import DIMENSIONS
from promptflow.llm import background
from promptflow.workspace import Workspace

np = pytest.importorskip("numpy")

FACTS = {
    "refunds": "Refunds are paid back to the card within five days of the parcel's return.",
    "parcels": "A parcel that is lost is sent again, at no cost.",
    "hours": "The shop is open from nine to six, on Saturdays until two.",
}


@pytest.fixture
def here(home: Path) -> Iterator[Workspace]:
    workspace = Workspace.open(home)
    yield workspace
    for process in workspace.processes.list():
        workspace.processes.stop(process.name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "facts"
    folder.mkdir()
    for name, text in FACTS.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def ask(here: Workspace, question: str, top: int = 3) -> list[dict[str, Any]]:
    return background.run(look_up(open_index("facts", here), [question], top, here))[0]


@pytest.mark.parametrize(
    "question, source",
    [
        ("When is the shop open on a Saturday?", "hours"),
        ("lost parcels", "parcels"),
        ("refunded to my card?", "refunds"),
    ],
)
def test_words_find_the_text_that_shares_them(here: Workspace, data: Path, question: str, source: str) -> None:
    create_index("facts", data, here)
    found = ask(here, question)
    assert found[0]["metadata"]["source"] == f"{source}.txt" and found[0]["text"] == FACTS[source]
    assert [entry["score"] for entry in found] == sorted((entry["score"] for entry in found), reverse=True)
    assert len(ask(here, question, 1)) == 1 and len(ask(here, question, 99)) == 3


def test_one_that_is_made_again_takes_the_place_of_the_old_one(here: Workspace, data: Path) -> None:
    create_index("facts", data, here)
    ask(here, "open")
    (data / "more.txt").write_text("Xylophones are on the second floor.")
    about, _ = create_index("facts", data, here)
    assert about.chunks == 4 and "Xylo" in ask(here, "xylophone")[0]["text"]
    assert [one.name for one in Indexes(here).list()] == ["facts"]
    assert [path.name for path in Indexes(here).folder.iterdir() if path.is_dir()] == ["facts"]


def test_a_failure_leaves_the_old_one(here: Workspace, data: Path) -> None:
    pytest.importorskip("onnxruntime")
    create_index("facts", data, here)
    with pytest.raises(PromptflowException, match="makes no embeddings"):
        create_index("facts", data, here, model="builtin/intent-mini")
    assert Indexes(here).list()[0].model == "builtin/words"
    assert [path.name for path in Indexes(here).folder.iterdir() if path.is_dir()] == ["facts"]


def test_vectors_of_a_model(here: Workspace, data: Path) -> None:
    told: list[tuple[int, int]] = []
    about, _ = create_index("facts", data, here, model="fake/echo", told=lambda *counts: told.append(counts))
    assert (about.model, about.connection, about.exact, told) == ("fake/echo", "local", "fake/echo", [(3, 3)])
    assert {entry["text"] for entry in ask(here, FACTS["hours"])} == set(FACTS.values())
    assert ask(here, FACTS["hours"])[0]["score"] == pytest.approx(1, abs=1e-3)


def test_a_question_of_unknown_words_only_finds_nothing(here: Workspace, data: Path) -> None:
    create_index("facts", data, here)
    assert ask(here, "???") == []
    with pytest.raises(ValidationException, match="nothing in query 0"):
        ask(here, "  ")


@pytest.mark.parametrize(
    "vector, top, said",
    [
        ([1.0, 2.0], 3, "takes vectors of 2048 numbers, not 2"),
        ("abc", 3, "list of numbers"),
        ([float("nan")] * DIMENSIONS, 3, "NaN"),
        ([1.0] * DIMENSIONS, 0, "top_k is 0"),
    ],
)
def test_vectors_that_cannot_be_looked_up(here: Workspace, data: Path, vector: Any, top: int, said: str) -> None:
    create_index("facts", data, here)
    with pytest.raises(VectorIndexError, match=said):
        Indexes(here).open("facts").search(vector, top)


@pytest.mark.parametrize("file", ["index.json", "vectors.npy", "offsets.npy", "rarity.npy"])
def test_a_damaged_index_says_so(here: Workspace, data: Path, file: str) -> None:
    create_index("facts", data, here)
    (Indexes(here).place("facts") / file).write_bytes(b"{}")
    with pytest.raises(VectorIndexError, match="cannot be read"):
        Indexes(here).open("facts")


def test_names(here: Workspace, data: Path) -> None:
    for name in ("../evil", "", "a/b", ".hidden"):
        with pytest.raises(ValidationException):
            create_index(name, data, here)
    create_index("facts", data, here)
    with pytest.raises(VectorIndexError, match="no index 'fact'") as caught:
        Indexes(here).open("fact")
    assert "facts" in caught.value.hint
    Indexes(here).delete("facts")
    with pytest.raises(UserErrorException):
        Indexes(here).delete("facts")


def test_a_large_index_has_a_graph(here: Workspace, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr("promptflow.index.index.GRAPH_FROM", 3)
    create_index("facts", data, here)
    assert (Indexes(here).place("facts") / "graph.faiss").exists()
    assert ask(here, "lost parcel")[0]["metadata"]["source"] == "parcels.txt"


def test_a_model_that_has_changed_since_is_an_error(here: Workspace, data: Path) -> None:
    create_index("facts", data, here)
    file = Indexes(here).place("facts") / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"connection": "local", "exact": "builtin/words:1"}))
    file.write_text(file.read_text().replace('"model": "builtin/words"', '"model": "fake/echo"'))
    with pytest.raises(VectorIndexError, match="is fake/echo now"):
        ask(here, "open")
