"""A model without code behind every dialect that clients of models speak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serve.scorers.base import Answer, Call, InputError, ModelError, NotThereError, Scorer
from serve.scorers.dialects import azure, kserve, mlflow, oip
from serve.scorers.dialects.facts import V1, V2, fact, is_metadata, metadata, posted, tensor
from serve.scorers.inputs import Inputs
from serve.scorers.models import open_model
from serve.scorers.models.base import Field, Loading, Model, named
from serve.scorers.swagger import swagger
from serve.scorers.user_code import failed


@dataclass(frozen=True, slots=True)
class Read:
    """A request that was read: what the model is to be asked, and how its outputs become the answer."""

    inputs: Inputs
    write: Callable[[Any], Answer]


class ModelScorer(Scorer):
    """``name`` is what it is called where a protocol tells; whatever name a request has in its path is taken."""

    def __init__(self, name: str, loading: Loading) -> None:
        self.name, self._loading = name, loading
        self._model: Model | None = None

    def load(self) -> None:
        self._model = open_model(self._loading)

    def answer(self, call: Call) -> Answer:
        read = self.read(call)
        return read if isinstance(read, Answer) else read.write(self.predict(read.inputs))

    def read(self, call: Call) -> Read | Answer:
        """What the model is to be asked, or the answer to what it need not be asked for."""
        path = call.path
        if path == "/score":
            return Read(azure.read(posted(call)), azure.write)
        if path == "/invocations":
            return Read(mlflow.read(posted(call)), mlflow.write)
        if (found := V1.fullmatch(path)) and found[2]:
            return Read(kserve.read(posted(call)), kserve.write)
        if (found := V2.fullmatch(path)) and found[3] == "/infer":
            return self._two(posted(call), found[1], found[2] or "1")
        return self._told(path)

    def predict(self, inputs: Inputs) -> Any:
        assert self._model is not None
        try:
            return self._model.predict(inputs)
        except (InputError, ModelError):
            raise
        except BaseException as error:  # SystemExit, too: a request does not end the process
            raise failed(error, "predict()") from error

    def rows(self, inputs: Inputs) -> Any:
        """The inputs as the one array that batches are made of. InputError where they are more than that."""
        assert self._model is not None
        return self._model.rows(inputs)

    def swagger(self, version: int) -> dict[str, Any]:
        return swagger(self.name, version, _takes(self._signature.inputs), {"type": "array", "items": {}})

    @property
    def _signature(self) -> Any:
        assert self._model is not None
        return self._model.signature

    def _two(self, call: Call, name: str, version: str) -> Read:
        inputs, asked = oip.read(call)
        return Read(inputs, lambda outputs: oip.write(asked, named(outputs), name, version))

    def _told(self, path: str) -> Answer:
        if is_metadata(path):
            told = self._signature
            return metadata(path, told.platform, _fields(told.inputs), _fields(told.outputs))
        if (answer := fact(path)) is None:
            raise NotThereError(path)
        return answer


def _takes(fields: tuple[Field, ...]) -> dict[str, Any]:
    """The JSON schema of what ``/score`` takes."""
    columns = [one.name for one in fields]
    kinds = [
        "string" if one.datatype == "BYTES" else "boolean" if one.datatype == "BOOL" else "number" for one in fields
    ]
    row = [{"string": "", "boolean": False}.get(kind, 0.0) for kind in kinds]
    table = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "index": {"type": "array", "items": {}},
            "data": {"type": "array", "items": {"type": "array", "items": {}}},
        },
    }
    example = {"input_data": {"columns": columns, "index": [0], "data": [row]}}
    properties = {"input_data": table, "params": {"type": "object"}}
    return {"type": "object", "required": ["input_data"], "properties": properties, "example": example}


def _fields(fields: tuple[Field, ...]) -> list[dict[str, Any]]:
    return [tensor(one.name, one.datatype, one.shape) for one in fields]
