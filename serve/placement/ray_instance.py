"""The process that stands here for an instance on a Ray cluster: it is Ray's driver, and starts, follows and ends it.

The supervisor sees it as it sees an instance that runs here: it ends when that ends, or is lost with its node; its
output is that one's log; SIGTERM ends both. In the place of the socket it writes a file that says where the instance
listens, and with which key it is asked. It is apart from the server because a Ray that loses its head node ends the
process that it is in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptflow._version import __version__
from promptflow.batch.ray_files import pack
from promptflow.batch.ray_gateway import environment, join
from promptflow.batch.ray_link import refused
from promptflow.exceptions import PromptflowException
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import write_whole
from promptflow.workspace.optional import need
from serve.endpoints.records import Deployment
from serve.endpoints.spec import Spec
from serve.endpoints.variables import plain
from serve.placement.files import copy_files
from serve.placement.folder import SPEC
from serve.placement.key import KEY
from serve.placement.place import CLUSTER, LOST, RayPlace, place_of
from serve.placement.ray_node import NodeInstance
from serve.scorers.kinds import ENDPOINT

FAILED = 3  # the exit code of one that could not be started
STOP = 8.0  # seconds that the actor has to end its process; the supervisor waits for 10
PATIENCE = 20.0  # seconds without a node, and then it is told


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    place = place_of(args.place)
    assert place is not None
    try:
        spec = Spec.from_json(json.loads(args.spec.read_bytes()))
        archive, environ = _packed(Deployment(os.environ.get(ENDPOINT, ""), args.deployment, spec), args.given)
        key = environ[KEY] = secrets.token_hex(32)
        task = json.dumps({"environ": environ, "version": __version__}).encode()
        _forget(environment(CLUSTER, Path()))
        ray = need("ray", extra="ray")  # the one place that loads it
        _join(ray)
        code = asyncio.run(_Holding(ray, place, args.socket, key).run(archive, task))
    except PromptflowException as error:
        print(f"error: {error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr, flush=True)
        return FAILED
    if code < 0:  # the supervisor tells by the signal whether somebody else ended it
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _packed(deployment: Deployment, given: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    """The instance's folder as an archive, without any values of variables, and these."""
    with tempfile.TemporaryDirectory(prefix="pf-instance-files-") as scratch:
        folder = Path(scratch)
        copied = copy_files(folder, deployment, Workspace.open())
        told = {**copied.spec.to_json(), "variables": {}}
        (folder / SPEC).write_text(json.dumps(told), encoding="utf-8")
        archive = pack(folder)
    environ = {**copied.secrets(), **plain(copied.spec.variables), **{name: os.environ[name] for name in given}}
    return archive, environ


def _forget(environ: Mapping[str, str]) -> None:
    """Ray's own processes get what they need, and none of the secrets of this one."""
    os.environ.clear()
    os.environ.update(environ)


def _join(ray: Any) -> None:
    try:
        join(ray, CLUSTER, 1, Path())  # a cluster that runs needs no folder of ours
    except Exception as error:  # Ray raises whatever its layers do
        raise refused(os.environ.get("RAY_ADDRESS", CLUSTER), f"({type(error).__name__}) {error}") from None


class _Holding:
    """One actor, for as long as its process runs."""

    def __init__(self, ray: Any, place: RayPlace, file: Path, key: str) -> None:
        self._ray, self._place, self._file, self._key = ray, place, file, key
        self._actor = ray.remote(max_restarts=0, max_task_retries=0, **place.options())(NodeInstance).remote()
        self._began = False

    async def run(self, archive: bytes, task: bytes) -> int:
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        following = asyncio.create_task(self._follow(archive, task))
        leaving = asyncio.create_task(told.wait())
        try:
            await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return following.result() if following.done() else 0
        finally:
            following.cancel()
            leaving.cancel()
            await self._leave()

    async def _follow(self, archive: bytes, task: bytes) -> int:
        """Until it has ended; the exit code."""
        try:
            started = asyncio.ensure_future(self._actor.start.remote(self._ray.put(archive), task))
            await asyncio.wait({started}, timeout=PATIENCE)
            if not started.done():
                print(f"waiting for a node with {_wanted(self._place)}", flush=True)
            await started
            self._began = True
            while True:
                log, known = await self._actor.follow.remote()
                sys.stdout.buffer.write(log)
                sys.stdout.buffer.flush()
                if "code" in known and not log:
                    return _ended(known)
                if "port" in known and not self._file.exists():
                    print(f"on a node, at {known['host']}:{known['port']}", flush=True)
                    where = {"host": known["host"], "port": known["port"], "key": self._key}
                    write_whole(self._file, json.dumps(where).encode(), mode=0o600)
        except Exception as error:  # RayError: the actor, its node or the way to it is gone, or what start() raised
            print(f"error: {_reason(error)}", file=sys.stderr, flush=True)
            return LOST if self._began else FAILED

    async def _leave(self) -> None:
        try:
            if self._began:
                async with asyncio.timeout(STOP):
                    await self._actor.stop.remote()
        except Exception:  # gone already, or hanging: it is killed
            pass
        finally:
            self._ray.kill(self._actor)
            self._ray.shutdown()


def _wanted(place: RayPlace) -> str:
    wants = {"cpu": place.cpu, "gpu": place.gpu, **place.other}
    return ", ".join(f"{name}={amount:g}" for name, amount in wants.items() if amount)


def _ended(known: Mapping[str, Any]) -> int:
    """The exit code; less than 0 for a signal, unless that was ours."""
    if known["why"]:
        print(f"error: it {known['why']}", file=sys.stderr, flush=True)
        return FAILED
    return int(known["code"])


def _reason(error: Exception) -> str:
    """One line; what was raised on the node is at the end of what Ray makes of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = getattr(error, "cause", None)
    if isinstance(cause, PromptflowException):
        return f"{cause}{f' ({cause.hint})' if cause.hint else ''}"
    if "No module named 'serve" in str(error) or "No module named 'promptflow" in str(error):
        return "the node has no promptflow (pip install promptflow there, of this version)"
    return f"the instance or its node is lost: ({type(error).__name__}) {lines[0] if lines else ''}"


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m serve.placement.ray_instance", description=__doc__)
    result.add_argument("--spec", type=Path, required=True, help="the deployment's spec as JSON")
    result.add_argument("--socket", type=Path, required=True, help="the file that says where it listens")
    result.add_argument("--deployment", required=True, metavar="NAME")
    result.add_argument("--place", required=True, help="ray:gpu=1")
    result.add_argument("--given", nargs="*", default=[], help="variables of this process that are the instance's")
    return result


if __name__ == "__main__":
    sys.exit(main())
