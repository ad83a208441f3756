"""Decoders of other makes, such as optimum exports; `make_tiny.py` tells what is different about this one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

from promptflow.exceptions import ValidationException  # noqa: E402
from serve.engines import open_engine  # noqa: E402
from serve.engines.base import Engine, UnsupportedError  # noqa: E402
from serve.engines.decoder import Decoder, positions  # noqa: E402
from tests.serve.engines.asking import ask, ask_all, plain, text_of  # noqa: E402
from tests.serve.engines.tiny_words import WORDS, tables  # noqa: E402

FOLDER = Path(__file__).parent / "tiny"


@pytest.fixture(scope="module", params=["tiny", "tiny_plain"])
def tiny(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """With a cache in half precision, and without any."""
    engine = open_engine(str(FOLDER.with_name(request.param)))
    engine.load()
    yield engine
    engine.unload()


def expected(prompt: str, count: int) -> str:
    """What the model should say, computed without engine and cache."""
    vectors, matrix = tables()
    ids = [WORDS.index(word) for word in prompt.split()]
    said: list[str] = []
    while len(said) < count:
        token = int((vectors[ids].astype(np.float16).astype(np.float32).sum(axis=0) @ matrix).argmax())
        if token == 0:
            break
        ids.append(token)
        said.append(WORDS[token])
    return " ".join(said)


PROMPTS = ["red", "green blue round", "one two tall old", "flat flat", "new square red green blue"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_another_decoder_is_run_right(tiny: Engine, prompt: str) -> None:
    assert text_of(ask(tiny, plain(prompt, max_tokens=6))) == expected(prompt, 6)


def test_rows_of_different_lengths_do_not_see_each_other(tiny: Engine) -> None:
    answers = ask_all(tiny, [plain(prompt, max_tokens=6) for prompt in PROMPTS])
    assert answers == [expected(prompt, 6) for prompt in PROMPTS]


def test_sizes_that_the_graph_leaves_open_come_from_the_config() -> None:
    decoder = Decoder(FOLDER / "model.onnx", {"hidden_size": 4, "num_attention_heads": 1})
    assert [value.shape for value in decoder.empty_cache(3)] == [(3, 1, 0, 4)] * 2
    assert decoder.empty_cache(1)[0].dtype == np.float16
    assert decoder.inputs > {"use_cache_branch"} and "position_ids" not in decoder.inputs


def test_positions_do_not_count_padding() -> None:
    mask = np.array([[0, 0, 1, 1], [1, 1, 1, 1]])
    assert positions(mask, 4).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]
    assert positions(mask, 1).tolist() == [[1], [3]]


class Graph:
    """The names and shapes of a graph, as a session tells them."""

    def __init__(self, inputs: dict[str, list[Any]], outputs: list[str]) -> None:
        self.inputs, self.outputs = inputs, outputs

    def get_inputs(self) -> list[Any]:
        return [onnxruntime_value(name, shape) for name, shape in self.inputs.items()]

    def get_outputs(self) -> list[Any]:
        return [onnxruntime_value(name, []) for name in self.outputs]


def onnxruntime_value(name: str, shape: list[Any]) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(name=name, shape=shape, type="tensor(float)")


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"input_ids": [1, 1], "attention_mask": [1, 1]}, ["classes"]),
        ({"pixels": [1, 3, 8, 8]}, ["classes"]),
        ({"input_ids": [1, 1], "past_key_values.0.key": [1, 2, "p", 4]}, ["logits", "present.0.key"]),
    ],
)
def test_a_graph_that_is_no_decoder_is_refused(inputs: dict[str, list[Any]], outputs: list[str]) -> None:
    from serve.engines.decoder import cache_inputs

    with pytest.raises(ValidationException, match="no decoder"):
        cache_inputs(Graph(inputs, outputs), {}, FOLDER)


def test_a_model_in_the_layout_of_browsers(tmp_path: Path) -> None:
    """`onnx/model_quantized.onnx` beside the tokenizer."""
    (tmp_path / "onnx").mkdir()
    for file in FOLDER.iterdir():
        name = "onnx/model_quantized.onnx" if file.suffix == ".onnx" else file.name
        (tmp_path / name).write_bytes(file.read_bytes())
    engine = open_engine("web", folder=tmp_path)
    engine.load()
    assert text_of(ask(engine, plain("red", max_tokens=6))) == expected("red", 6)
    assert engine.stats().weights_bytes == (FOLDER / "model.onnx").stat().st_size
    engine.unload()


def test_an_exported_encoder_makes_embeddings() -> None:
    engine = open_engine("encoder", folder=FOLDER.with_name("tiny_encoder"))
    engine.load()
    found = asyncio.run(engine.embed(["red", "green blue round"]))
    scores = asyncio.run(engine.rerank("red", ["red", "green"])).scores
    engine.unload()
    vectors = tables()[0]
    means = np.array([vectors[[1]].mean(0), vectors[[2, 3, 4]].mean(0)])
    assert np.allclose(found.vectors, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-6)
    assert found.prompt_tokens == 4 and scores[0] == pytest.approx(1.0, abs=1e-5) and scores[1] < 0.99


def test_json_is_refused_where_the_tokenizer_cannot_be_guided(tiny: Engine) -> None:
    with pytest.raises(UnsupportedError, match="cannot be guided"):
        ask(tiny, plain("red", json=True))
