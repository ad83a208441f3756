"""``python -P -m serve.batch.worker --job FILE --fd N``: a process that has the driver, and is handed mini-batches.

The job's process starts it through `serve.supervisor.start`, which ends it when that process ends. What the user's code
prints goes to this process's output, which is a log.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from promptflow.exceptions import PromptflowException, UserErrorException
from serve.batch.driver import Driver, MiniBatch, ScriptDriver
from serve.batch.fetch import Fetched
from serve.batch.records import APPEND_ROW, Settings
from serve.batch.tables import Piece, Reader, read
from serve.endpoints.spec import SCRIPT, Spec
from serve.scorers.base import ModelError

OURS = ("serve", "catalog")  # packages that this process has loaded, beside promptflow
_logger = logging.getLogger("serve.batch.worker")


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    told = json.loads(args.job.read_bytes())
    spec, settings = Spec.from_json(told["spec"]), Settings.from_json(told["settings"])
    connection = Connection(args.fd)
    settle(spec, told["variables"])
    logging.basicConfig(
        level=settings.logging_level.upper(), format="%(asctime)s %(levelname).1s %(name)s %(message)s", force=True
    )
    try:
        driver = driver_of(spec, keep=settings.output_action == APPEND_ROW)
        make_room(spec.code)
        driver.load()
    except PromptflowException as error:
        send(connection, {"failed": error.message, "hint": error.hint})
        return 1
    send(connection, {"ready": True})
    reader = Reader.from_json(told["reader"]) if told["reader"] else None
    with Fetched(Path(told["fetched"])) as fetched:
        _serve(connection, driver, fetched, reader)
    return 0


def driver_of(spec: Spec, *, keep: bool) -> Driver:
    """The driver of a deployment; its libraries are imported when it is loaded."""
    if spec.kind == SCRIPT:
        assert spec.code is not None
        return ScriptDriver(spec.code / spec.scoring_script, keep=keep)
    from serve.batch.predict import ModelDriver  # with numpy, which scripts may do without
    from serve.scorers.models.base import Loading

    assert spec.model_path is not None
    return ModelDriver(Loading(spec.model_path, spec.allow_pickle, spec.options), keep=keep)


def settle(spec: Spec, variables: Mapping[str, str]) -> None:
    """The environment, working folder and path that the user's code finds. Secrets this process was started with."""
    code, model = spec.code, spec.model_path
    given = {
        "AZUREML_MODEL_DIR": str(model.parent) if model else "",
        "AML_APP_ROOT": str(code or ""),
        "AZUREML_SOURCE_DIRECTORY": str(code or ""),
        "AZUREML_ENTRY_SCRIPT": spec.scoring_script,
        "AZUREML_PROCESS_NAME": f"process{os.getpid()}",
    }
    os.environ.update({name: text for name, text in given.items() if text})
    os.environ.update(variables)
    sys.argv = [spec.scoring_script or "batch"]  # scripts may parse the words of a cluster's driver: there are none
    if code is not None:
        os.chdir(code)
        sys.path[:0] = dict.fromkeys((str((code / (spec.scoring_script or "_")).parent), str(code)))


def make_room(code: Path | None) -> None:
    """Where the user's folder has a module of the name of one of our packages, that is what its code gets."""
    own = [name for name in OURS if code and ((code / name).is_dir() or (code / f"{name}.py").is_file())]
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]


def send(connection: Connection, told: Mapping[str, Any], text: bytes | None = None) -> None:
    """A message, and the rows that belong to it."""
    connection.send_bytes(json.dumps(told).encode())
    if text is not None:
        connection.send_bytes(text)


def _serve(connection: Connection, driver: Driver, fetched: Fetched, reader: Reader | None) -> None:
    """One mini-batch after the other, until an empty message."""
    while True:
        try:
            asked = connection.recv_bytes()
        except EOFError:
            return
        if not asked:
            break
        try:
            batch = _batch(json.loads(asked), fetched, reader)
            rows = driver.run(batch)
            done = rows.count if rows.done is None else rows.done
            send(connection, {"rows": rows.count, "done": done}, rows.text)
        except Exception as error:
            send(connection, _failure(error))
        finally:
            fetched.clear()
    try:
        driver.close()
    except ModelError as error:
        print(error.traceback, file=sys.stderr, flush=True)
        send(connection, {"failed": error.message, "hint": ""})
        return
    send(connection, {"closed": True})


def _batch(asked: Sequence[Any], fetched: Fetched, reader: Reader | None) -> MiniBatch:
    if reader is None:
        return MiniBatch([fetched.get(file) for file in asked])
    found = [Piece(**one) for one in asked]
    return MiniBatch(table=read(found, reader), origins=[(one.file, one.rows) for one in found])


def _failure(error: Exception) -> dict[str, Any]:
    """``again``: whether another try may go otherwise. It may not where the input, or what ``run`` returns, is no
    good."""
    if isinstance(error, ModelError):
        print(error.traceback, file=sys.stderr, flush=True)
        return {"error": error.message, "again": True}
    if isinstance(error, UserErrorException):
        _logger.error("%s", error)
        hint = f" ({error.hint})" if error.hint else ""
        return {"error": f"{error.message}{hint}", "again": False}
    _logger.exception("the mini-batch could not be read")
    return {"error": f"{type(error).__name__}: {error}", "again": True}


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m serve.batch.worker", description=__doc__)
    result.add_argument("--job", type=Path, required=True, help="what the job's process wrote for it")
    result.add_argument("--fd", type=int, required=True, help="the connection to that process")
    return result


if __name__ == "__main__":
    sys.exit(main())
