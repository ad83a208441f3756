"""`pf catalog search, show, pull, list, remove, verify` against a hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptflow.cli.main import main
from tests.hub_server import HubServer, Repo, serving

pytest.importorskip("huggingface_hub")

WEIGHTS = b"weights!" * (1 << 17)
README = b"""---
license: mit
language: [en, de]
pipeline_tag: text-generation
base_model: acme/base
model-index:
- name: small
  results:
  - task: {type: text-generation}
    dataset: {name: ARC, type: arc}
    metrics: [{type: acc, value: 0.5}]
---
# Small
"""
CONFIG = b'{"architectures": ["LlamaForCausalLM"], "text_config": {"max_position_embeddings": 4096}, "auto_map": {"A": "a.B"}}'


def card(licence: str) -> dict[str, Any]:
    return {"license": licence, "language": ["en", "de"], "base_model": "acme/base",
            "model-index": [{"name": "small", "results": [
                {"task": {"type": "text-generation"}, "dataset": {"name": "ARC", "type": "arc"},
                 "metrics": [{"type": "acc", "value": 0.5}]}]}]}  # fmt: skip


def facts(licence: str, billions: float, *tags: str) -> dict[str, Any]:
    count = int(billions * 10**9)
    return {"cardData": card(licence), "pipeline_tag": "text-generation", "downloads": int(billions * 10),
            "tags": [f"license:{licence}", "safetensors", *tags],
            "safetensors": {"parameters": {"BF16": count}, "total": count}}  # fmt: skip


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    repos = {
        "acme/small": Repo({"README.md": README, "config.json": CONFIG, "model.safetensors": WEIGHTS, "a.py": b"code"}, facts("mit", 0.6)),
        "acme/large": Repo({"model.safetensors": b"1"}, facts("llama3", 70)),
        "acme/shut": Repo({"model.safetensors": b"1"}, facts("mit", 8), gated="auto", readers=("good",)),
        "ann/adapter": Repo({"adapter_model.safetensors": b"1"}, {"tags": ["base_model:adapter:acme/small"]}),
    }  # fmt: skip
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with serving(repos) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.tokens = {"good": "ann"}
        yield server


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["catalog", *words]) == code
    out = capsys.readouterr()
    return json.loads(out.out) if code == 0 else out.err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["acme/large", "acme/shut", "acme/small", "ann/adapter"]),
        (("small",), ["acme/small"]),
        (("--licence", "mit"), ["acme/shut", "acme/small"]),
        (("--licence", "open", "--not-gated"), ["acme/small"]),
        (("--task", "text-generation", "--max-parameters", "10B"), ["acme/shut", "acme/small"]),
        (("--max-size", "2GB"), ["acme/small"]),
        (("--min-parameters", "1B", "--weights", "safetensors"), ["acme/large", "acme/shut"]),
        (("-r", "1"), ["acme/large"]),
        (("--author", "ann"), ["ann/adapter"]),
    ],
)
def test_search(
    server: HubServer, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], found: list[str]
) -> None:
    assert [model["id"] for model in said(capsys, "search", *words, "-o", "json")] == found


def shape(layers: int, size: int) -> bytes:
    return json.dumps(
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": size, "num_hidden_layers": layers,
         "num_attention_heads": 8, "intermediate_size": 4 * size, "vocab_size": 1000, "max_position_embeddings": 2048,
         "dtype": "bfloat16"}
    ).encode()  # fmt: skip


def test_search_for_what_fits_this_machine(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    weights: dict[str, bytes | Path] = {"model.safetensors": b"\2\0\0\0\0\0\0\0{}"}
    server.repos = {
        "fit/huge": Repo({**weights, "config.json": shape(400, 65536)}, {"downloads": 9}),
        "fit/tiny": Repo({**weights, "config.json": shape(2, 64)}, {"downloads": 8}),
        "fit/shut": Repo({**weights, "config.json": shape(2, 64)}, {"downloads": 7}, gated="auto"),
        "fit/bare": Repo({"config.json": shape(2, 64)}, {"downloads": 7}),
        "fit/none": Repo({"README.md": README}, {"downloads": 6}),
    }
    assert len(said(capsys, "search", "fit", "-o", "json")) == 5
    assert [model["id"] for model in said(capsys, "search", "fit", "--fits", "-o", "json")] == ["fit/tiny"]


def test_search_shows_sizes_as_people_say_them(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "search", "large", "-o", "tsv"]) == 0
    head, row = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert dict(zip(head, row, strict=True))["parameters"] == "70B"
    assert dict(zip(head, row, strict=True))["size"] == "140.0 GB"


def test_a_wrong_size_is_an_error_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected a number such as 8B" in said(capsys, "search", "--max-parameters", "many", code=2)
    assert "expected a size such as 24GB" in said(capsys, "search", "--max-size", "big", code=2)


def test_show(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "show", "acme/small")
    assert (shown["licence"], shown["open"], shown["languages"]) == ("mit", True, ["en", "de"])
    assert (shown["parameters"], shown["context"], shown["architecture"]) == (600_000_000, 4096, "LlamaForCausalLM")
    assert (shown["sizes"], shown["code"], shown["pulled"]) == ({"safetensors": len(WEIGHTS)}, True, None)
    assert shown["adapters"] == ["ann/adapter"] and shown["base_models"] == ["acme/base"]
    assert shown["results"] == [{"task": "text-generation", "dataset": "ARC", "metric": "acc", "value": 0.5}]


def test_a_gated_model_is_shown_without_its_files(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.repos["acme/shut"].files["config.json"] = CONFIG
    shown = said(capsys, "show", "acme/shut")
    assert (shown["gated"], shown["context"]) == ("auto", 0)


def test_pull_list_verify_remove(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "pull", "acme/small"]) == 0
    out = capsys.readouterr()
    pulled = json.loads(out.out)
    assert pulled["files"] == ["README.md", "config.json", "model.safetensors"]
    assert "left out, code: 1 files" in out.err and f"of {1.0} MB" in out.err
    (listed,) = said(capsys, "list", "-o", "json")
    assert (listed["id"], listed["revision"], listed["formats"]) == ("acme/small", pulled["revision"], ["safetensors"])
    assert said(capsys, "list", "other", "-o", "json") == []
    assert said(capsys, "show", "acme/small")["pulled"]["revision"] == pulled["revision"]
    assert {file["state"] for file in said(capsys, "verify", "acme/small", "-o", "json")} == {"ok"}
    assert said(capsys, "verify", "--all", "--bad", "-o", "json") == []
    assert "There is no terminal to ask on" in said(capsys, "remove", "acme/small", code=2)
    assert main(["catalog", "remove", "acme/small", "-y"]) == 0
    assert "are free" in capsys.readouterr().err
    assert said(capsys, "list", "-o", "json") == []


def test_verify_repairs(server: HubServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = Path(said(capsys, "pull", "acme/small")["folder"])
    (folder / "model.safetensors").resolve().write_bytes(b"x" * len(WEIGHTS))
    (tmp_path / "mine").write_text("mine")
    (folder / "notes.txt").symlink_to(tmp_path / "mine")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("../../blobs/gone")
    assert main(["catalog", "verify", "acme/small", "--bad", "-o", "quiet"]) == 5
    assert capsys.readouterr().out.split() == ["config.json", "model.safetensors", "notes.txt"]
    (folder / "notes.txt").unlink()
    assert main(["catalog", "verify", "acme/small", "--repair"]) == 0
    assert "fetched again: config.json, model.safetensors" in capsys.readouterr().err
    assert {file["state"] for file in said(capsys, "verify", "acme/small", "-o", "json")} == {"ok"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS and (tmp_path / "mine").read_text() == "mine"


def test_what_is_pulled_is_shown_without_a_hub(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "pull", "acme/small")
    asked = len(server.asked)
    shown = said(capsys, "show", "acme/small", "--local")
    assert (shown["licence"], shown["context"], shown["results"][0]["value"]) == ("mit", 4096, 0.5)
    assert [file["pulled"] for file in said(capsys, "show", "acme/small", "--local", "--files")] == [True] * 3
    assert main(["catalog", "show", "acme/small", "--local", "--card"]) == 0
    assert "# Small" in capsys.readouterr().out
    assert len(server.asked) == asked
    assert "is not on this machine" in said(capsys, "show", "acme/large", "--local", code=1)


def test_folders_and_files_have_cards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_bytes(README)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    shown = said(capsys, "show", str(tmp_path))
    assert (shown["licence"], shown["sizes"]) == ("mit", {"gguf": 4})
    assert said(capsys, "show", str(tmp_path / "model.gguf"))["sizes"] == {"gguf": 4}
    assert "is no model" in said(capsys, "show", str(tmp_path / "README.md"), code=1)


def test_a_registered_model_has_a_card(tmp_path: Path, server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert main(["model", "create", "-n", "shop", "-p", str(tmp_path / "m"), "-o", "quiet"]) == 0
    capsys.readouterr()
    shown = said(capsys, "show", "shop")
    assert (shown["id"], shown["licence"], shown["own_results"]) == ("shop:1", "mit", [])
    assert not server.asked


def test_a_licence_is_accepted_by_a_flag(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    planned = said(capsys, "pull", "acme/large", "--dry-run")
    assert "llama3" in planned["asks"]["licence"] and planned["to_fetch"] == 1
    error = said(capsys, "pull", "acme/large", code=1)
    assert "was not accepted yet" in error and "--accept-licence" in error
    said(capsys, "pull", "acme/large", "--accept-licence")
    (accepted,) = said(capsys, "show", "acme/large")["accepted"]
    assert (accepted["what"], accepted["licence"]) == ("licence", "llama3") and accepted["user"]


def test_code_is_taken_on_a_word(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a.py" in said(capsys, "pull", "acme/small", "--trust-remote-code")["files"]
    assert [word["what"] for word in said(capsys, "show", "acme/small")["accepted"]] == ["code"]


def test_errors_are_three_lines(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    error = said(capsys, "pull", "acme/shut", code=1)
    assert error.startswith("error: acme/shut is gated") and "hint: accept it at" in error
    assert "There is no acme/none" in said(capsys, "pull", "acme/none", code=1)
    assert "is no name of a model" in said(capsys, "remove", "../../etc", code=1)
    assert "Name a model, or say --all" in said(capsys, "verify", code=2)
