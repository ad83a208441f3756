"""Write the trained weights as a model folder, in half precision, and an ONNX graph with a KV cache that reads them
where they lie in the safetensors file: they are stored once."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from model import Shape, hugging_face_config
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokens import ASSISTANT, CHAT_TEMPLATE, END, PAD, SYSTEM, USER

OPSET = 17
WEIGHTS = "model.safetensors"


class Graph:
    """Collects nodes and weights; every ``op`` returns the name of its one output. ``places``: where in the weights'
    file each lies, its first byte and their number."""

    def __init__(self, places: dict[str, tuple[int, int]]) -> None:
        self.places = places
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.made = 0

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        self.made += 1
        out = out or f"{kind.lower()}_{self.made}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def split(self, source: str, parts: int) -> list[str]:
        self.made += 1
        outs = [f"split_{self.made}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [source], outs, axis=-1))
        return outs

    def const(self, value: Any, kind: type = np.int64) -> str:
        self.made += 1
        name = f"const_{self.made}"
        self.weights.append(numpy_helper.from_array(np.array(value, dtype=kind), name))
        return name

    def weight(self, name: str, value: np.ndarray) -> str:
        """Not in the graph's file; the runtime folds the cast when it loads the model."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        offset, length = self.places[name]
        for key, stored in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(stored))
        self.weights.append(tensor)
        return self.op("Cast", name, to=TensorProto.FLOAT)

    def linear(self, x: str, name: str, value: np.ndarray) -> str:
        """By a matrix that is stored as torch has it: outputs by inputs."""
        return self.op("MatMul", x, self.op("Transpose", self.weight(name, value), perm=[1, 0]))

    def norm(self, x: str, name: str, value: np.ndarray, eps: float) -> str:
        square = self.op("ReduceMean", self.op("Mul", x, x), axes=[-1], keepdims=1)
        root = self.op("Sqrt", self.op("Add", square, self.const(eps, np.float32)))
        return self.op("Mul", self.op("Div", x, root), self.weight(name, value))

    def heads(self, x: str, count: int, size: int) -> str:
        shaped = self.op("Reshape", x, self.const([0, -1, count, size]))
        return self.op("Transpose", shaped, perm=[0, 2, 1, 3])

    def rotate(self, x: str, cos: str, sin: str) -> str:
        low, high = self.split(x, 2)
        turned = self.op("Concat", self.op("Neg", high), low, axis=-1)
        return self.op("Add", self.op("Mul", x, cos), self.op("Mul", turned, sin))


def build(weights: dict[str, np.ndarray], places: dict[str, tuple[int, int]], shape: Shape) -> onnx.ModelProto:
    """The decoder as a graph. Inputs and outputs are named as optimum names them; ``logits`` are those of the last
    position only, which is all that generation needs, so prompts are to be padded on the left."""
    if shape.num_key_value_heads != shape.num_attention_heads:
        raise ValueError("grouped heads are not exported")
    g, heads, size = Graph(places), shape.num_attention_heads, shape.head_dim

    def linear(x: str, name: str) -> str:
        return g.linear(x, name, weights[name])

    def norm(x: str, name: str) -> str:
        return g.norm(x, name, weights[name], shape.rms_norm_eps)

    table = g.weight("model.embed_tokens.weight", weights["model.embed_tokens.weight"])
    x = g.op("Gather", table, "input_ids")
    cos, sin = rotary(g, shape)
    bias = attention_bias(g)
    presents = []
    for layer in range(shape.num_hidden_layers):
        of = f"model.layers.{layer}."
        normed = norm(x, of + "input_layernorm.weight")
        q, k, v = (
            g.heads(linear(normed, f"{of}self_attn.{n}.weight"), heads, size) for n in ("q_proj", "k_proj", "v_proj")
        )
        q, k = g.rotate(q, cos, sin), g.rotate(k, cos, sin)
        k = g.op("Concat", f"past_key_values.{layer}.key", k, axis=2, out=f"present.{layer}.key")
        v = g.op("Concat", f"past_key_values.{layer}.value", v, axis=2, out=f"present.{layer}.value")
        presents += [k, v]
        scores = g.op(
            "MatMul", g.op("Mul", q, g.const(size**-0.5, np.float32)), g.op("Transpose", k, perm=[0, 1, 3, 2])
        )
        mixed = g.op("MatMul", g.op("Softmax", g.op("Add", scores, bias), axis=-1), v)
        flat = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.const([0, -1, heads * size]))
        x = g.op("Add", x, linear(flat, of + "self_attn.o_proj.weight"))
        normed = norm(x, of + "post_attention_layernorm.weight")
        gate = linear(normed, of + "mlp.gate_proj.weight")
        up = linear(normed, of + "mlp.up_proj.weight")
        gated = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        x = g.op("Add", x, linear(gated, of + "mlp.down_proj.weight"))
    last = g.op("Slice", x, g.const([-1]), g.const([np.iinfo(np.int64).max]), g.const([1]))
    last = norm(last, "model.norm.weight")
    g.op("MatMul", last, g.op("Transpose", table, perm=[1, 0]), out="logits")
    return finished(g, shape, presents)


def rotary(g: Graph, shape: Shape) -> tuple[str, str]:
    """Cosines and sines of the positions, in full precision."""
    steps = np.arange(0, shape.head_dim, 2) / shape.head_dim
    speeds = np.tile(shape.rope_theta**-steps, 2)
    positions = g.op("Unsqueeze", g.op("Cast", "position_ids", to=TensorProto.FLOAT), g.const([1, 3]))
    angles = g.op("Mul", positions, g.const(speeds, np.float32))
    return g.op("Cos", angles), g.op("Sin", angles)


def attention_bias(g: Graph) -> str:
    """0 where a position may be seen, a large negative number where it is padding or lies ahead."""
    total = g.op("Gather", g.op("Shape", "attention_mask"), g.const(1))
    new = g.op("Gather", g.op("Shape", "input_ids"), g.const(1))
    every = g.op("Range", g.const(0), total, g.const(1))
    mine = g.op("Range", g.op("Sub", total, new), total, g.const(1))
    ahead = g.op("Greater", g.op("Unsqueeze", every, g.const([0])), g.op("Unsqueeze", mine, g.const([1])))
    padding = g.op("Equal", "attention_mask", g.const(0))
    hidden = g.op("Or", ahead, g.op("Unsqueeze", padding, g.const([1, 2])))
    return g.op("Mul", g.op("Cast", hidden, to=TensorProto.FLOAT), g.const(-1e9, np.float32))


def finished(g: Graph, shape: Shape, presents: list[str]) -> onnx.ModelProto:
    def value(name: str, kind: int, dims: list[Any]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, dims)

    cache = ["batch_size", shape.num_key_value_heads, "past_sequence_length", shape.head_dim]
    grown = ["batch_size", shape.num_key_value_heads, "past_sequence_length + sequence_length", shape.head_dim]
    inputs = [
        value("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
        value("attention_mask", TensorProto.INT64, ["batch_size", "past_sequence_length + sequence_length"]),
        value("position_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
        *(value(name.replace("present", "past_key_values"), TensorProto.FLOAT, cache) for name in presents),
    ]
    outputs = [
        value("logits", TensorProto.FLOAT, ["batch_size", 1, shape.vocab_size]),
        *(value(name, TensorProto.FLOAT, grown) for name in presents),
    ]
    graph = helper.make_graph(g.nodes, "decoder", inputs, outputs, g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def places_of(file: Path) -> dict[str, tuple[int, int]]:
    """The first byte and the number of bytes of each tensor in a safetensors file."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
    spans = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return {name: (8 + size + first, end - first) for name, (first, end) in spans.items()}


def write_graph(out: Path, shape: Shape) -> None:
    """The graph of the weights that lie in the folder."""
    file = out / "model.onnx"
    onnx.save(build(load_file(out / WEIGHTS), places_of(out / WEIGHTS), shape), file)
    onnx.checker.check_model(file, full_check=True)


def export(trained: Path, out: Path) -> None:
    facts = json.loads((trained / "training.json").read_text())
    shape = Shape(**facts["shape"])
    state = torch.load(trained / "average.pt", weights_only=True)
    weights = {name: value.half().numpy() for name, value in state.items()}
    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / WEIGHTS, metadata={"format": "pt"})
    write_graph(out, shape)
    shutil.copy(trained / "tokenizer.json", out / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    end, pad, user = (tokenizer.token_to_id(token) for token in (END, PAD, USER))
    write(out / "config.json", hugging_face_config(shape, eos=end, pad=pad, bos=user))
    write(out / "generation_config.json", {"eos_token_id": end, "pad_token_id": pad, "do_sample": False})
    write(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": shape.max_position_embeddings,
            "pad_token": PAD,
            "eos_token": END,
            "additional_special_tokens": [SYSTEM, USER, ASSISTANT],
            "clean_up_tokenization_spaces": False,
            "padding_side": "left",
            "chat_template": CHAT_TEMPLATE,
        },
    )


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trained", type=Path, default=Path("build/embedded-model"))
    parser.add_argument("--out", type=Path, default=Path("serve/engines/builtin/intent-mini"))
    args = parser.parse_args()
    export(args.trained, args.out)
