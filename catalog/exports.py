"""Which file of a model is its ONNX export."""

from __future__ import annotations

from collections.abc import Collection

ONNX = ".onnx"
PLACES = ("", "onnx/")
# In this order: the merged decoder of older exports has a twin without a cache, smaller types come last.
NAMES = ("model.onnx", "decoder_model_merged.onnx", "model_fp16.onnx", "model_quantized.onnx", "model_q4.onnx")


def onnx_name(files: Collection[str]) -> str:
    """In the model's folder or its ``onnx``: the one with a usual name, or the only one there is; empty if none is."""
    for place in PLACES:
        for name in NAMES:
            if place + name in files:
                return place + name
    for place in PLACES:
        found = [file for file in files if file.endswith(ONNX) and file.rpartition("/")[0] == place.rstrip("/")]
        if len(found) == 1:
            return found[0]
    return ""
