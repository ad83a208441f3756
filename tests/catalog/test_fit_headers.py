"""Weights from the first kilobytes of safetensors and GGUF files, and what damaged ones say."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.facts import facts_of_folder
from catalog.fit import Fit, predict
from catalog.gguf import read_gguf
from catalog.headers import Reader, read_weights
from catalog.machine import Gpu, Machine
from catalog.weights import Weights, WeightsError, count_weights, weight_files
from promptflow.exceptions import ValidationException
from tests.tiny_models import adapter, decoder, save_safetensors


def reader(data: dict[str, bytes], asked: list[int] | None = None) -> Reader:
    def read(file: str, start: int, end: int) -> bytes:
        if asked is not None:
            asked.append(len(data[file][start:end]))
        return data[file][start:end]

    return read


def safetensors(header: Any, tensors: int = 0) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(tensors)


def read(**files: bytes) -> Weights:
    return read_weights({name: len(data) for name, data in files.items()}, reader(files))


def test_a_real_file_is_counted_to_the_byte(tmp_path: Path) -> None:
    folder = decoder(tmp_path / "model")
    facts = facts_of_folder(folder)
    tensors = pytest.importorskip("safetensors.numpy").load_file(folder / "model.safetensors")
    assert facts.weights is not None and facts.weights.exact
    assert facts.weights.stored == sum(one.nbytes for one in tensors.values())
    assert facts.weights.parameters == sum(one.size for one in tensors.values())
    assert facts.weights.bytes_in(2) == facts.weights.stored // 2


def test_many_long_headers_stay_within_the_budget_and_exact() -> None:
    count = 30
    files, stored = {}, 0
    for shard in range(count):
        header = {
            f"model.layers.{at}.mlp.experts.{shard}.up_proj.weight": {
                "dtype": "BF16", "shape": [8, 2], "data_offsets": [32 * at, 32 * at + 32],
            }
            for at in range(800)
        }  # fmt: skip
        files[f"model-{shard:05}-of-{count:05}.safetensors"] = safetensors(header, 800 * 32)
        stored += 800 * 32
    sizes = {name: len(data) for name, data in files.items()}
    asked: list[int] = []
    weights = read_weights(sizes, reader(files, asked))
    # What cannot be read whole is not begun: 1 MB is for heads of requests and the list of files, too.
    assert sum(asked) + 1000 * len(asked) <= 100_000 and (weights.stored, weights.exact, weights.numbers) == (
        stored,
        True,
        {},
    )
    told = read_weights(sizes, reader(files), dtypes={"BF16": stored // 2})
    assert told.numbers == {"BF16": stored // 2}
    lied = read_weights(sizes, reader(files), dtypes={"BF16": 12})
    assert lied.numbers == {}
    whole = read_weights(sizes, reader(files), budget=10_000_000)
    assert (whole.stored, whole.parameters) == (stored, stored // 2)


def test_embeddings_norms_and_routers_stay_when_a_model_is_quantised() -> None:
    header = {
        "model.embed_tokens.weight": {"dtype": "BF16", "shape": [100, 10], "data_offsets": [0, 2000]},
        "model.layers.0.mlp.up_proj.weight": {"dtype": "BF16", "shape": [10, 100], "data_offsets": [2000, 4000]},
        "model.norm.weight": {"dtype": "BF16", "shape": [10], "data_offsets": [4000, 4020]},
    }
    weights = count_weights({"a": header})
    assert weights.left == {"BF16": 1010}
    assert weights.bytes_quantised("int4", 2) == 2020 + 1000 * 4.625 // 8 + 1
    assert count_weights({"a": {"x": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}}).parameters is None


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cut off: 0 bytes"),
        (b"\x10\0\0\0", "cut off: 4 bytes"),
        ((10 << 30).to_bytes(8, "little") + b"{}", "header has 10737418240 bytes; the format allows"),
        (b"\xff" * 16, "the format allows"),
        ((5000).to_bytes(8, "little") + b"{}", "should have 5000 bytes"),
        ((0).to_bytes(8, "little") + b"{}", "should have 0 bytes"),
        ((4).to_bytes(8, "little") + b"{{{{", "is no JSON"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "is no JSON"),
        (safetensors([1]), "no JSON object"),
        (safetensors({"a": GOOD}, 7), "8 bytes by their headers, but the files have 7"),
        (safetensors({"a": GOOD | {"dtype": "F31"}}, 8), "unknown type, F31"),
        (safetensors({"a": GOOD | {"dtype": ["F32"]}}, 8), "unknown type"),
        (safetensors({"a": GOOD | {"shape": [3]}}, 8), "which its shape does not need"),
        (safetensors({"a": GOOD | {"shape": [-2]}}, 8), "makes no sense"),
        (safetensors({"a": GOOD | {"shape": [1 << 60]}}, 8), "makes no sense"),
        (safetensors({"a": GOOD | {"data_offsets": [8, 0]}}, 8), "makes no sense"),
        (safetensors({"a": GOOD | {"data_offsets": [True, 8]}}, 8), "makes no sense"),
        (safetensors({"a": "F32"}, 8), "makes no sense"),
    ],
)
def test_damaged_headers_are_clear_errors(data: bytes, said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        read(**{"model.safetensors": data})


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", "model.fp16.safetensors", "tf.h5"], ["model.safetensors"]),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "consolidated.safetensors"],
         ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
        (["adapter_model.safetensors", "original/model.safetensors"], []),
        (["weights.safetensors"], ["weights.safetensors"]),
    ],
)  # fmt: skip
def test_second_copies_are_not_counted(names: list[str], chosen: list[str]) -> None:
    assert list(weight_files(names)) == chosen


def gguf(values: dict[str, Any], version: int = 3) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    made = b"GGUF" + struct.pack("<IQQ", version, 0, len(values))
    for name, value in values.items():
        made += text(name)
        if isinstance(value, str):
            made += struct.pack("<I", 8) + text(value)
        elif isinstance(value, list):
            made += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        else:
            made += struct.pack("<II", 4, value)
    return made


LLAMA = {
    "general.architecture": "llama", "llama.block_count": 32, "llama.embedding_length": 4096,
    "llama.feed_forward_length": 14336, "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
    "llama.context_length": 131072, "tokenizer.ggml.tokens": ["a", "b"] * 20000,
}  # fmt: skip


def test_a_gguf_file_tells_what_it_is_before_its_words() -> None:
    data = gguf(LLAMA)
    asked: list[int] = []
    told = read_gguf("a.gguf", 5 << 30, reader({"a.gguf": data}, asked))
    assert sum(asked) <= 64 << 10
    assert told.weights.stored == 5 << 30
    assert told.config["num_key_value_heads"] == 8 and told.config["vocab_size"] == 40000


@pytest.mark.parametrize("data", [b"", b"GGUF", b"nope" * 10, gguf(LLAMA, version=9), gguf({"general.name": "x"})])
def test_other_files_are_no_gguf(data: bytes) -> None:
    with pytest.raises(WeightsError):
        read_gguf("a.gguf", len(data), reader({"a.gguf": data}))


def test_an_adapter_points_to_its_model(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", decoder(tmp_path / "base"))
    with pytest.raises(ValidationException, match="is an adapter") as caught:
        facts_of_folder(folder)
    assert str(tmp_path / "base") in caught.value.hint


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "[" * 100_000])
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValidationException, match=r"config\.json of"):
        facts_of_folder(tmp_path)


def test_an_export_is_measured_with_the_files_beside_it(tmp_path: Path) -> None:
    folder = decoder(tmp_path / "model")
    (folder / "onnx").mkdir()
    for name, size in {"model.onnx": 10, "model.onnx_data": 100, "model_q4.onnx": 1000}.items():
        (folder / "onnx" / name).write_bytes(bytes(size))
    assert facts_of_folder(folder).onnx == 110


def test_pickled_weights_are_only_about(tmp_path: Path) -> None:
    folder = decoder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(bytes(1000))
    weights = facts_of_folder(folder).weights
    assert weights and (weights.stored, weights.exact) == (1000, False)


@pytest.mark.parametrize(
    ("file", "form"), [("pytorch_model.bin", "pickles"), ("model.gguf", "GGUF"), ("tf_model.h5", "HDF5")]
)
def test_weights_that_no_engine_loads_never_fit(tmp_path: Path, file: str, form: str) -> None:
    folder = decoder(tmp_path / "model")
    machine = Machine(64 << 30, 64 << 30, 8, (Gpu("a GPU", 24 << 30, 24 << 30, (9, 0)),))

    def fits() -> Fit:
        facts = facts_of_folder(folder)
        return predict(facts.config, facts.weights, machine, onnx=facts.onnx)

    assert fits().fits is True
    (folder / "model.safetensors").rename(folder / file)
    assert fits().fits is False and form in fits().best.why
    assert not any(plan.fits or plan.max_context for plan in fits().plans)
    (folder / "model.onnx").write_bytes(bytes(1000))
    assert fits().fits is True and fits().best.engine == "onnx"


def test_the_largest_tensor_and_mixed_types(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "a", {"x": np.zeros((3, 5), np.float32), "y": np.zeros(7, np.uint8)})
    weights = read(a=(tmp_path / "a").read_bytes())
    assert (weights.stored, weights.largest, weights.bytes_in(2)) == (67, 60, 37)
