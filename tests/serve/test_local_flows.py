"""Flows on models of this machine: a variant is an adapter, and adapters of one model share its process."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptflow.client import PFClient
from promptflow.llm import background
from promptflow.workspace import Workspace
from tests import tiny_models

FLOW = """\
inputs:
  word: {type: string}
outputs:
  text: {type: string, reference: "${say.output}"}
nodes:
- name: say
  use_variants: true
node_variants:
  say:
    default_variant_id: plain
    variants:
      plain: {node: &node {type: llm, source: {type: code, path: say.jinja2}, connection: local, api: chat,
              inputs: {model: tiny, temperature: 0, max_tokens: 8, word: "${inputs.word}"}}}
      formal: {node: {<<: *node, inputs: {model: tiny@formal, temperature: 0, max_tokens: 8, word: "${inputs.word}"}}}
      brief: {node: {<<: *node, inputs: {model: tiny@brief, temperature: 0, max_tokens: 8, word: "${inputs.word}"}}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace with the registered model ``tiny`` and its adapters ``formal`` and ``brief``."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from catalog.registry import Registry
    from catalog.schemas import ModelSpec

    monkeypatch.setenv("PF_HOME_DIRECTORY", str(tmp_path / "home"))
    workspace = Workspace.open()
    registry = Registry(workspace)
    base = tiny_models.decoder(tmp_path / "base")
    registry.create(ModelSpec("tiny", path=str(base)))
    for seed, name in enumerate(("formal", "brief"), start=4):
        registry.create(ModelSpec(name, path=str(tiny_models.adapter(tmp_path / name, base, seed=seed))))
    yield workspace
    for process in workspace.processes.list():
        workspace.processes.stop(process.name)


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    folder = tmp_path / "flow"
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text(FLOW)
    (folder / "say.jinja2").write_text("# user:\nSay {{word}}.\n")
    (folder / "data.jsonl").write_text("\n".join(json.dumps({"word": word}) for word in ("fox", "dog", "day")))
    return folder


def test_variants_on_two_adapters_share_one_process(here: Workspace, flow: Path) -> None:
    client = PFClient()
    said = {
        name: [
            line["outputs.text"]
            for line in client.get_details(
                client.run(flow, data=flow / "data.jsonl", variant=f"${{say.{name}}}"), max_results=9
            ).to_dict("records")
        ]
        for name in ("plain", "formal", "brief")
    }
    assert len({tuple(texts) for texts in said.values()}) == 3, said
    assert [process.name for process in here.processes.list()] == ["engine tiny:1"]


@pytest.mark.slow
def test_an_index_of_an_embedding_model_on_this_machine(here: Workspace, tmp_path: Path) -> None:
    from promptflow.index import create_index
    from promptflow.index.lookup import look_up, open_index

    encoder = tiny_models.encoder(tmp_path / "encoder")
    facts = tmp_path / "facts.jsonl"
    words = tiny_models.TEXT[0].lower().strip(".").split()  # the encoder knows no others
    texts = [f"the {one} jumps over the {other}" for one, other in itertools.permutations(words[1:9], 2)]
    facts.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    about, _ = create_index("facts", facts, here, model=str(encoder))
    assert (about.model, about.dimensions, about.chunks) == (str(encoder), tiny_models.HIDDEN, len(texts))
    ((best,),) = background.run(look_up(open_index("facts", here), [texts[42]], 1, here))
    assert best["text"] == texts[42] and best["score"] == pytest.approx(1, abs=1e-3)
