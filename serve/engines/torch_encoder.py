"""Encoders (and decoders that were trained to embed) that transformers can load, on a CPU or a GPU."""

from __future__ import annotations

import inspect
from pathlib import Path

from promptflow.workspace.optional import need
from serve.engines.encoding import Array, Encoder
from serve.engines.torch_model import load_model

torch = need("torch", extra="local")

CLASSES = {"embed": "AutoModel", "rerank": "AutoModelForSequenceClassification"}


class TorchEncoder(Encoder):
    def __init__(self, folder: Path, task: str, device: str = "auto", dtype: str = "auto") -> None:
        # The pooler of a BERT is a layer that embeddings leave out, and that many checkpoints lack.
        self.model = load_model(folder, CLASSES[task], device, dtype, unused=("pooler.",) if task == "embed" else ())
        self.weights_bytes = sum(value.nbytes for value in self.model.parameters())
        self.device, self.dtype = str(self.model.device), str(self.model.dtype).removeprefix("torch.")
        self.takes_types = "token_type_ids" in inspect.signature(self.model.forward).parameters
        self.takes_types &= getattr(self.model.config, "type_vocab_size", 0) > 1

    def run(self, ids: Array, mask: Array, types: Array) -> Array:
        given = {"input_ids": ids, "attention_mask": mask}
        if self.takes_types:
            given["token_type_ids"] = types
        tensors = {name: torch.from_numpy(value).to(self.model.device) for name, value in given.items()}
        with torch.inference_mode():
            out = self.model(**tensors)
        return (out.logits if hasattr(out, "logits") else out.last_hidden_state).float().cpu().numpy()
