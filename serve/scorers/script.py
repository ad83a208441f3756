"""A ``score.py`` as Azure ML runs it: ``init()`` once, ``run(...)`` per request."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from promptflow.exceptions import MissingExtraError, UserErrorException
from promptflow.workspace.optional import need
from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError, LoadError, ModelError, NotThereError, Scorer
from serve.scorers.dialects.facts import fact, is_metadata, metadata, posted, predicts
from serve.scorers.swagger import swagger
from serve.scorers.user_code import failed, guarded, hidden_by, imported

SHIMS = Path(__file__).parent / "shims"
RAW = "__azureml_rawhttp__"  # what the decorator of the shim leaves on a function


class ScriptScorer(Scorer):
    """``code`` is the folder of the script, which is the working folder of this process and first on its path.
    ``imported`` is called once the script is, before its ``init``."""

    def __init__(self, code: Path, script: str, imported: Callable[[], None] = lambda: None) -> None:
        self._file, self._imported = code / script, imported
        self._run: Callable[..., Any] = _missing
        self._answer: Callable[[Call], Any] = self._of_text
        if hidden_by(code):
            with suppress(MissingExtraError):
                _dialects()  # else when they are asked for: they bring numpy, which not every script needs

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
        if call.path == "/score":
            return self._sent(self._ran(self._answer, call))
        if predicts(call.path):
            return self._translated(posted(call))
        if is_metadata(call.path):
            takes, gives = _schemas(self._run)
            parameters = _dialects()[1]
            return metadata(call.path, "python", parameters.inputs(takes), parameters.outputs(gives))
        if (answer := fact(call.path)) is None:
            raise NotThereError(call.path)
        return answer

    def _translated(self, call: Call) -> Answer:
        """A request of another dialect, as far as decorators tell what its values are to ``run``."""
        if self._answer != self._of_fields:
            raise UntoldError(call.path)
        rows, parameters = _dialects()
        given = rows.read(call)
        asked, whole = parameters.calls(_schemas(self._run)[0], given)
        answers = []
        for fields in asked:
            answer = self._sent(value := self._ran(self._called_with, fields))
            if answer.status >= 400:
                return answer
            answers.append(_content(answer) if hasattr(value, "get_data") else value)
        written: Answer = given.write_whole(answers[0]) if whole else given.write(answers)
        return written

    def _ran(self, ask: Callable[[Any], Any], what: Any) -> Any:
        try:
            return ask(what)
        except InputError:
            raise
        except BaseException as error:  # SystemExit, too: a request does not end the process
            raise failed(error, "run()") from error

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
        return self._called_with(fields)

    def _called_with(self, fields: dict[str, Any]) -> Any:
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


class UntoldError(UserErrorException):
    """Nothing tells what the values of a request of this dialect are to ``run``."""

    http_status = 404

    def __init__(self, path: str) -> None:
        super().__init__(
            f"run() takes the body of /score as it comes, and nothing tells what {path} is to give it: ask /score.",
            hint="with the decorators of inference-schema on run(), every dialect is understood",
        )


@cache
def _dialects() -> tuple[Any, Any]:
    """How other dialects are read, and their rows made parameters."""
    need("numpy", extra="ml")
    return import_module("serve.scorers.dialects.rows"), import_module("serve.scorers.parameters")


def _content(answer: Answer) -> Any:
    """What a response of the script holds."""
    try:
        return json.loads(answer.body)
    except ValueError:
        return answer.body.decode("utf-8", "replace")


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
