"""Makes ``tiny/``, ``tiny_plain/`` and ``tiny_encoder/``: models of another make than ours. Run it by hand, as a module
(it needs ``onnx``).

The plain decoder is the first without a cache; the encoder's vectors are the decoder's, one per token.

The first adds up the vectors of all tokens that the mask shows and multiplies the sum by a matrix. It has no
``position_ids``, a half-precision cache whose sizes only ``config.json`` tells, logits for every position, and the
switch that merged exports have.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.serve.engines.tiny_words import SIZE, WORDS, tables

FOLDER = Path(__file__).parent / "tiny"


def build() -> onnx.ModelProto:
    vectors, matrix = tables()
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["embedded"]),
        helper.make_node("Unsqueeze", ["embedded", "one"], ["heads"]),
        helper.make_node("Cast", ["heads"], ["fresh"], to=TensorProto.FLOAT16),
        helper.make_node("Concat", ["past_key_values.0.key", "fresh"], ["present.0.key"], axis=2),
        helper.make_node("Concat", ["past_key_values.0.value", "fresh"], ["present.0.value"], axis=2),
        helper.make_node("Cast", ["present.0.value"], ["all"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["shown"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["shown", "outer"], ["weights"]),
        helper.make_node("Mul", ["all", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one_two"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "matrix"], ["scores"]),
        helper.make_node("Unsqueeze", ["scores", "one"], ["last"]),
        helper.make_node("Shape", ["input_ids"], ["asked"]),
        helper.make_node("Concat", ["asked", "one"], ["wide"], axis=0),
        helper.make_node("Expand", ["last", "wide"], ["logits"]),
        helper.make_node("Identity", ["use_cache_branch"], ["cached"]),
    ]
    weights = {
        "vectors": vectors,
        "matrix": matrix,
        "one": np.array([1]),
        "outer": np.array([1, 3]),
        "one_two": np.array([1, 2]),
    }
    cache = ["batch_size", "heads", "past_sequence_length", "size"]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "total_length"]),
        helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]),
        helper.make_tensor_value_info("past_key_values.0.key", TensorProto.FLOAT16, cache),
        helper.make_tensor_value_info("past_key_values.0.value", TensorProto.FLOAT16, cache),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", "sequence_length", len(WORDS)]),
        helper.make_tensor_value_info("present.0.key", TensorProto.FLOAT16, cache),
        helper.make_tensor_value_info("present.0.value", TensorProto.FLOAT16, cache),
        helper.make_tensor_value_info("cached", TensorProto.BOOL, [1]),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def build_plain() -> onnx.ModelProto:
    vectors, matrix = tables()
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["shown"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["shown", "last_axis"], ["weights"]),
        helper.make_node("Mul", ["embedded", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["sum"], keepdims=1),
        helper.make_node("MatMul", ["sum", "matrix"], ["logits"]),
    ]
    weights = {"vectors": vectors, "matrix": matrix, "one": np.array([1]), "last_axis": np.array([2])}
    return graph(nodes, "plain", weights, "logits", ["batch_size", 1, len(WORDS)])


def build_encoder() -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["vectors", "input_ids"], ["last_hidden_state"])]
    return graph(
        nodes, "encoder", {"vectors": tables()[0]}, "last_hidden_state", ["batch_size", "sequence_length", SIZE]
    )


def graph(nodes: list, name: str, weights: dict, output: str, shape: list) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", "sequence_length"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)]
    tensors = [numpy_helper.from_array(value, key) for key, value in weights.items()]
    made = helper.make_graph(nodes, name, inputs, outputs, tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    write(FOLDER, build(), {"eos_token_id": [0]})
    write(FOLDER.with_name("tiny_plain"), build_plain(), {"eos_token_id": [0]})
    write(FOLDER.with_name("tiny_encoder"), build_encoder(), {"architectures": ["TinyModel"]})


def write(folder: Path, model: onnx.ModelProto, config: dict) -> None:
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config |= {"hidden_size": SIZE, "num_attention_heads": 1, "max_position_embeddings": 24}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if "eos_token_id" in config:
        (folder / "generation_config.json").write_text(json.dumps({"do_sample": False}) + "\n")


if __name__ == "__main__":
    main()
