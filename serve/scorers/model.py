"""A model without code behind every dialect that clients of models speak."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError, ModelError, NotThereError, Scorer
from serve.scorers.dialects import azure, kserve, mlflow, oip
from serve.scorers.inputs import Inputs
from serve.scorers.models import open_model
from serve.scorers.models.base import Field, Loading, Model, named
from serve.scorers.script import failed
from serve.scorers.swagger import swagger

_V2 = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/infer|/ready)?")
_V1 = re.compile(r"/v1/models/([^/:]+)(:predict)?")


class ModelScorer(Scorer):
    """``name`` is what it is called where a protocol tells; whatever name a request has in its path is taken."""

    def __init__(self, name: str, loading: Loading) -> None:
        self.name, self._loading = name, loading
        self._model: Model | None = None

    def load(self) -> None:
        self._model = open_model(self._loading)

    def answer(self, call: Call) -> Answer:
        path = call.path
        if path == "/score":
            return azure.write(self._predicted(azure.read(call)))
        if path == "/invocations":
            return mlflow.write(self._predicted(mlflow.read(call)))
        if found := _V2.fullmatch(path):
            return self._two(call, found[1], found[2] or "1", found[3] or "")
        if found := _V1.fullmatch(path):
            return self._one(call, found[1], found[2] or "")
        return self._told(path)

    def swagger(self, version: int) -> dict[str, Any]:
        columns = [field.name for field in self._signature.inputs]
        example = {"input_data": {"columns": columns, "index": [0], "data": [[0.0] * len(columns)]}}
        takes = {"type": "object", "properties": {"input_data": {"type": "object"}}, "example": example}
        return swagger(self.name, version, takes, {"type": "array", "items": {}})

    @property
    def _signature(self) -> Any:
        assert self._model is not None
        return self._model.signature

    def _predicted(self, inputs: Inputs) -> Any:
        assert self._model is not None
        try:
            return self._model.predict(inputs)
        except (InputError, ModelError):
            raise
        except Exception as error:
            raise failed(error, "predict()") from error

    def _two(self, call: Call, name: str, version: str, verb: str) -> Answer:
        try:
            if verb == "/infer":
                outputs = named(self._predicted(oip.read(call)))
                return oip.write(call, outputs, name, version)
        except InputError as error:
            return oip.refusal(400, str(error))
        if verb == "/ready":
            return Answer(to_json({"name": name, "ready": True}))
        told = {"inputs": _fields(self._signature.inputs), "outputs": _fields(self._signature.outputs)}
        return Answer(to_json({"name": name, "versions": [version], "platform": self._signature.platform, **told}))

    def _one(self, call: Call, name: str, verb: str) -> Answer:
        if verb:
            return kserve.write(self._predicted(kserve.read(call)))
        return Answer(to_json({"name": name, "ready": True}))

    def _told(self, path: str) -> Answer:
        known: dict[str, Callable[[], Answer]] = {
            "/ping": lambda: Answer(b"\n"),
            "/health": lambda: Answer(b"\n"),
            "/version": lambda: Answer(mlflow.VERSION.encode(), media="text/plain"),
            "/v2": lambda: Answer(
                to_json({"name": "promptflow", "version": "2", "extensions": ["binary_tensor_data"]})
            ),
            "/v2/health/live": lambda: Answer(to_json({"live": True})),
            "/v2/health/ready": lambda: Answer(to_json({"ready": True})),
        }
        if path not in known:
            raise NotThereError(path)
        return known[path]()


def _fields(fields: tuple[Field, ...]) -> list[dict[str, Any]]:
    return [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in fields]
