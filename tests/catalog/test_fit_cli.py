"""`pf catalog fit` and `compare` against a hub over loopback, and folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import serve.engines
from catalog.facts import facts_of
from catalog.hub import Hub
from catalog.local import LocalModels
from catalog.measured import Measured, keep_measured, measured
from promptflow.cli.main import main
from promptflow.workspace import Workspace
from tests.catalog.test_fit_architectures import told
from tests.hub_server import HubServer, Repo, serving
from tests.tiny_models import decoder

pytest.importorskip("huggingface_hub")


def sparse(folder: Path, shards: int, tensors: int, layer: int) -> dict[str, bytes | Path]:
    """Shards as large models have them: real headers, and holes for tensors."""
    files: dict[str, bytes | Path] = {}
    for shard in range(shards):
        header = {
            f"model.layers.{shard}.mlp.experts.{at}.up_proj.weight": {
                "dtype": "BF16", "shape": [layer // 2, 1], "data_offsets": [layer * at, layer * at + layer],
            }
            for at in range(tensors)
        }  # fmt: skip
        text = json.dumps(header).encode()
        path = folder / f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + layer * tensors)
        files[path.name] = path
    return files


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    model = decoder(tmp_path / "tiny")
    files: dict[str, bytes | Path] = {path.name: path for path in model.iterdir()}
    config = {**told("llama_8b")["config"], "num_hidden_layers": 20}
    (tmp_path / "big").mkdir()
    big = sparse(tmp_path / "big", 20, 100, 1 << 14)
    length = (10 << 30).to_bytes(8, "little")
    repos = {
        "acme/tiny": Repo(files),
        "acme/big": Repo({"config.json": json.dumps(config).encode(), **big}),
        "acme/lying": Repo({"config.json": json.dumps(config).encode(), "model.safetensors": length + b"{}" * 50}),
        "acme/absurd": Repo({**files, "config.json": json.dumps({**config, "hidden_size": 10**15}).encode()}),
        "acme/none": Repo({"README.md": b"nothing"}),
        "acme/climbing": Repo({**files, "../../evil.json": b"{}"}),
        "acme/shut": Repo(files, gated="manual"),
    }
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PF_HOME_DIRECTORY", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(repos) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def fit(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["catalog", *words, "-o", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_model_of_many_shards_takes_less_than_a_megabyte(
    server: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (told,) = fit(capsys, "fit", "acme/big", "--gpu-memory", "24GB")
    assert told["weights"] == 20 * 100 * (1 << 14) and told["weights_exact"]
    assert told["cache_per_token"] == 20 * 2 * 8 * 128 * 2
    assert sum(server.sent.values()) <= 1_000_000 and told["bytes_read"] <= 1_000_000
    assert told["fits"] is True and told["best"]["engine"] == "vllm"


def test_all_ways_in_a_table(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("catalog fit acme/tiny --gpu-memory 24GB --all -o table".split()) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == ["MODEL"] + ["acme/tiny"] * 5
    assert "yes, as a copy in int4" in shown and "transformers" in shown


def test_a_model_that_does_not_fit_says_so(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = fit(capsys, "fit", "acme/big", "--gpu-memory", "2GB", "--context", "100000", "--concurrency", "50")
    gpu = told["plans"][0]
    assert gpu["fits"] is False and gpu["needed"] > gpu["available"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("acme/lying", "header has 10737418240 bytes"),
        ("acme/absurd", "hidden_size is 1000000000000000"),
        ("acme/none", "no config.json and no GGUF"),
        ("acme/climbing", "which leads out of the model's folder"),
        ("acme/shut", "/acme/shut, then"),
        ("acme/missing", "no acme/missing"),
        ("acme/../none", "no name of a model"),
    ],
)
def test_what_cannot_be_told_is_one_clear_error(
    server: HubServer, capsys: pytest.CaptureFixture[str], model: str, said: str
) -> None:
    assert main(["catalog", "fit", model]) == 1
    captured = capsys.readouterr()
    assert said in captured.err and "Traceback" not in captured.err and not captured.out
    assert sum(server.sent.values()) < 100_000


def test_one_model_that_fails_leaves_the_others(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    told = fit(capsys, "fit", "acme/tiny", "acme/lying", code=1)
    assert [one["model"] for one in told] == ["acme/tiny"]


def test_a_server_without_parts_of_files_is_not_read_whole(
    server: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ranges = False
    (told,) = fit(capsys, "fit", "acme/tiny")
    assert told["weights_exact"] and told["bytes_read"] < 100_000


def test_a_pulled_model_asks_no_hub(server: HubServer, tmp_path: Path) -> None:
    snapshot = tmp_path / "cache" / "models--acme--tiny" / "snapshots" / ("0" * 40)
    decoder(snapshot)
    facts = facts_of("acme/tiny", hub=Hub(), local=LocalModels())
    assert facts.folder == snapshot and facts.revision == "0" * 40 and not server.asked


def test_compare_puts_models_side_by_side(
    server: HubServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(f"catalog compare acme/tiny {tmp_path}/tiny -o tsv".split()) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0][1:] == ["acme/tiny", f"{tmp_path}/tiny"]
    assert all(first == second for _, first, second in lines[1:] if first)
    both = fit(capsys, "compare", "acme/tiny", "acme/big")
    assert [one["model"] for one in both] == ["acme/tiny", "acme/big"]


def test_what_was_measured_stands_beside(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.open()
    for peak in (1, 700 << 20):
        keep_measured(workspace, Measured("acme/tiny", "transformers", "cpu", "float32", 548_608, 1 << 20, peak))
    (told,) = fit(capsys, "fit", "acme/tiny")
    assert [load["peak"] for load in told["measured"]] == [1, 700 << 20]
    assert main(["catalog", "fit", "acme/tiny", "-o", "table"]) == 0
    assert "measured" in capsys.readouterr().out.splitlines()[2]


def test_measurements_are_few_and_a_damaged_file_is_none(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    for at in range(30):
        keep_measured(workspace, Measured("m", "vllm", "gpu", "bfloat16", at, 0))
    assert [load.weights for load in measured(workspace, "m")] == list(range(10, 30))
    (file,) = (tmp_path / "measured").iterdir()
    for damage in ('[{"model": "m"}]', "{", "[1]", "{}"):
        file.write_text(damage)
        assert measured(workspace, "m") == []


def test_a_model_is_loaded_and_what_it_took_is_kept(
    server: HubServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    model = Path(serve.engines.__file__).parent / "builtin" / "intent-mini"
    (told,) = fit(capsys, "fit", str(model), "--measure")
    (load,) = told["measured"]
    assert load["engine"] == "onnx" and load["peak"] > 1 << 20 and load["when"]


def test_a_built_in_model_asks_no_hub(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = fit(capsys, "fit", "builtin/intent-mini")
    assert told["model"] == "builtin/intent-mini" and told["fits"] is True and told["best"]["engine"] == "onnx"
    assert fit(capsys, "show", "builtin/intent-mini")["licence"]
    assert main(["catalog", "fit", "builtin/none"]) == 1 and main(["catalog", "fit", "builtin/../words"]) == 1
    assert "builtin/intent-mini does" in capsys.readouterr().err
    assert not server.asked


def test_only_what_is_here_can_be_measured(server: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "fit", "acme/tiny", "--measure", "-o", "json"]) == 1
    assert "pf catalog pull acme/tiny" in capsys.readouterr().err
