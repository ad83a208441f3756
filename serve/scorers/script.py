"""A ``score.py`` as Azure ML runs it: ``init()`` once, ``run(...)`` per request."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError, LoadError, ModelError, NotThereError, Scorer
from serve.scorers.swagger import swagger
from serve.scorers.user_code import failed, guarded, imported

SHIMS = Path(__file__).parent / "shims"
RAW = "__azureml_rawhttp__"  # what the decorator of the shim leaves on a function


class ScriptScorer(Scorer):
    """``code`` is the folder of the script, which is the working folder of this process and first on its path.
    ``imported`` is called once the script is, before its ``init``."""

    def __init__(self, code: Path, script: str, imported: Callable[[], None] = lambda: None) -> None:
        self._file, self._imported = code / script, imported
        self._run: Callable[..., Any] = _missing
        self._answer: Callable[[Call], Any] = self._of_text

    def load(self) -> None:
        module = imported(self._file)
        self._imported()
        run = getattr(module, "run", None)
        if not callable(run):
            raise LoadError(f"{self._file.name} has no function 'run'.", hint="def run(data): ...")
        self._run = run
        if _is_decorated(run):
            self._answer = self._of_fields
        elif getattr(run, RAW, False):
            self._answer = self._of_request
        init = getattr(module, "init", None)
        if init is not None:
            guarded(init, f"init() of {self._file.name}")

    def answer(self, call: Call) -> Answer:
        if call.path != "/score":
            raise NotThereError(call.path)
        try:
            value = self._answer(call)
        except InputError:
            raise
        except BaseException as error:  # SystemExit, too: a request does not end the process
            raise failed(error, "run()") from error
        return self._sent(value)

    def swagger(self, version: int) -> dict[str, Any]:
        """The user's own, if there is one beside the script."""
        for name in (f"swagger{version}.json", "swagger.json"):
            file = self._file.with_name(name)
            if file.is_file():
                own: dict[str, Any] = json.loads(file.read_bytes())
                return own
        return swagger(os.environ.get("AZUREML_DEPLOYMENT_NAME", "deployment"), version, *_schemas(self._run))

    def _of_text(self, call: Call) -> Any:
        try:
            text = call.body.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"The body is not UTF-8: {error}") from error
        return self._run(text if call.method != "GET" else json.dumps(dict(parse_qsl(call.query))))

    def _of_request(self, call: Call) -> Any:
        from azureml.contrib.services.aml_request import AMLRequest  # of the shims, which the script has imported

        return self._run(AMLRequest(call))

    def _of_fields(self, call: Call) -> Any:
        """``inference_schema`` knows the parameters: the body is an object of them."""
        try:
            fields = json.loads(call.body) if call.method != "GET" else dict(parse_qsl(call.query))
        except (ValueError, RecursionError) as error:
            raise InputError(f"The body is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise InputError("The body must be a JSON object of the parameters of run().")
        known = {name.lower(): name for name in _schemas(self._run)[0].get("properties", {})}
        unknown = [name for name in fields if name.lower() not in known]
        if unknown:
            raise InputError(f"run() has no parameter '{unknown[0]}'; it has {', '.join(known.values())}.")
        try:
            return self._run(**{known[name.lower()]: value for name, value in fields.items()})
        except Exception as error:
            if self._entered(error):
                raise
            raise InputError(f"The body is not what run() takes: {error}") from error

    def _entered(self, error: BaseException) -> bool:
        """Whether the error comes out of the script, and not from the decorators that read what it gets."""
        frames = traceback.extract_tb(error.__traceback__)
        return any(Path(frame.filename) == self._file for frame in frames)

    @staticmethod
    def _sent(value: Any) -> Answer:
        if hasattr(value, "get_data") and hasattr(value, "status_code"):  # AMLResponse, or a response of Flask
            headers = {str(name).lower(): str(text) for name, text in dict(value.headers).items()}
            media = headers.pop("content-type", "application/json")
            headers.pop("content-length", None)
            return Answer(value.get_data(), int(value.status_code), media, headers)
        return Answer(to_json(value))


def _is_decorated(run: Callable[..., Any]) -> bool:
    util = sys.modules.get("inference_schema.schema_util")  # else nobody has decorated anything with it
    return util is not None and bool(util.is_schema_decorated(run))


def _schemas(run: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """JSON schemas of what it takes and gives, as far as decorators tell."""
    util = sys.modules.get("inference_schema.schema_util")
    if util is None or not util.is_schema_decorated(run):
        return {"type": "object", "example": {}}, {"type": "object"}
    return util.get_input_schema(run), util.get_output_schema(run)


def _missing(*_: Any, **__: Any) -> Any:
    raise ModelError("The script is not loaded.")
