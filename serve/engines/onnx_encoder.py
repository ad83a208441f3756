"""Encoders exported to ONNX: embeddings and scores without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.decoder import open_session, weights_bytes
from serve.engines.encoding import Array, Encoder
from serve.engines.kinds import onnx_file

np = need("numpy", extra="cpu")

POOLED = ("sentence_embedding", "text_embeds")
KNOWN = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}


class OnnxEncoder(Encoder):
    """The output that counts is found by its name, else it is the first."""

    def __init__(self, folder: Path) -> None:
        file = onnx_file(folder)
        if file is None:
            raise ValidationException(f"The folder {folder} holds no model.onnx.", hint="export the model to ONNX")
        self.session = open_session(file)
        self.weights_bytes = weights_bytes(file)
        self.inputs = {value.name for value in self.session.get_inputs()}
        if unknown := sorted(self.inputs - KNOWN):
            raise ValidationException(
                f"The model {file} wants inputs that a text encoder has not: {', '.join(unknown)}."
            )
        names = [value.name for value in self.session.get_outputs()]
        pooled = [name for name in POOLED if name in names]
        self.pooled = bool(pooled)
        self.output = (pooled or [name for name in ("logits", "last_hidden_state") if name in names] or names)[0]

    def run(self, ids: Array, mask: Array, types: Array) -> Array:
        feeds: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        feeds["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        (out,) = self.session.run([self.output], {name: feeds[name] for name in self.inputs})
        return out.astype(np.float32, copy=False)
