"""`pf endpoint invoke`: one request to an endpoint, with its key."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException
from serve.cli.endpoint_arguments import add_endpoint, add_wait, open_store
from serve.cli.endpoint_keys import credentials
from serve.cli.endpoint_live import wait_until_ready
from serve.cli.server import ensure_server
from serve.endpoints.errors import EndpointConflictError
from serve.endpoints.store import EndpointStore
from serve.supervisor.beacon import Beacon, find

DEPLOYMENT_HEADER = "azureml-model-deployment"
_CHUNK = 1 << 16


class InvokeError(UserErrorException):
    """The endpoint answered with an error."""


def run(args: Namespace, out: Output) -> None:
    store = open_store()
    body = _body(args.request_file)
    if args.local and not args.deployment_name:
        args.deployment_name = _only(store, args.name)
    targets = _targets(store, args.name, args.deployment_name)
    before = find(store.workspace.home)
    beacon = ensure_server(store.workspace, out)
    if before is None or before.pid != beacon.pid:
        wait_until_ready(beacon, args.name, targets, args.timeout, out)
    shown = credentials(store, args.name)
    headers = {
        "Authorization": f"Bearer {shown.get('primaryKey') or shown.get('accessToken')}",
        "Content-Type": args.content_type,
        "Accept": "*/*",
    }
    if args.deployment_name:
        headers[DEPLOYMENT_HEADER] = args.deployment_name
    _send(beacon, f"/endpoints/{quote(args.name)}/{args.path.lstrip('/')}", body, headers, args, out)


def _only(store: EndpointStore, name: str) -> str | None:
    """Local endpoints of the cloud's have no traffic rules: their one deployment answers."""
    names = [one.name for one in store.deployments(name)]
    return names[0] if len(names) == 1 and not any(store.get(name).traffic.values()) else None


def _targets(store: EndpointStore, name: str, deployment: str | None) -> list[str]:
    """The deployments that may answer."""
    if deployment:
        return [store.deployment(name, deployment).name]
    found = [one for one, share in store.get(name).traffic.items() if share]
    if not found:
        names = ", ".join(one.name for one in store.deployments(name)) or "none yet"
        raise EndpointConflictError(
            f"No deployment of '{name}' gets traffic (there is {names}).",
            hint=f'pf endpoint update -n {name} --traffic "DEPLOYMENT=100", or --deployment-name DEPLOYMENT',
        )
    return found


def _send(beacon: Beacon, path: str, body: bytes, headers: dict[str, str], args: Namespace, out: Output) -> None:
    place = urlsplit(beacon.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=args.timeout)
    try:
        with _heard(beacon):
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
        if answer.status >= 300:
            raise _error(answer, args)
        if out.query or out.explicit and out.format != "json":
            out.result(_parsed(b"".join(_pieces(answer, beacon))))
        else:
            _print(_pieces(answer, beacon), out)
    finally:
        connection.close()


def _pieces(answer: http.client.HTTPResponse, beacon: Beacon) -> Iterator[bytes]:
    while True:
        with _heard(beacon):
            piece = answer.read1(_CHUNK)
        if not piece:
            return
        yield piece


@contextlib.contextmanager
def _heard(beacon: Beacon) -> Iterator[None]:
    """A server that breaks off is told of as such."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise InvokeError(f"The server at {beacon.url} broke off: {error}.", hint="pf server status") from error


def _parsed(body: bytes) -> Any:
    """An answer to be written otherwise than it came."""
    try:
        found = json.loads(body)
    except ValueError:
        return {"answer": body.decode("utf-8", "replace")}
    return found if isinstance(found, dict | list) else {"answer": found}


def _print(pieces: Iterable[bytes], out: Output) -> None:
    """The answer as it comes: streams are shown while they last."""
    raw = getattr(out.stdout, "buffer", None)
    last = b"\n"
    for piece in pieces:
        last = piece[-1:]
        if raw is None:
            out.stdout.write(piece.decode("utf-8", "replace"))
        else:
            raw.write(piece)
            raw.flush()
    if last != b"\n":
        out.stdout.write("\n")


def _error(answer: http.client.HTTPResponse, args: Namespace) -> InvokeError:
    text = answer.read().decode("utf-8", "replace")
    name = answer.headers.get(DEPLOYMENT_HEADER) or args.deployment_name or "DEPLOYMENT"
    hints = {
        424: f"the model failed on it: pf deployment get-logs -n {name} -e {args.name}",
        408: "request_settings.request_timeout_ms of the deployment allows more time",
        429: "request_settings.max_concurrent_requests_per_instance, or more instances",
        503: f"pf deployment list -e {args.name}",
    }
    return InvokeError(f"The endpoint answered {answer.status}: {_message(text)}", hint=hints.get(answer.status, ""))


def _message(text: str) -> str:
    try:
        found = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return text[:2000]
    return str(found)


def _body(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"--request-file {file}: {error.strerror}") from error


def _arguments(parser: ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument(
        "-r", "--request-file", required=True, metavar="FILE", help="The body of the request; - is standard input."
    )
    parser.add_argument(
        "--deployment-name", "--deployment", metavar="NAME", help="Ask this deployment, whatever the traffic is."
    )
    parser.add_argument(
        "--path", default="score", metavar="PATH", help="Of the endpoint: score, invocations, v1/chat/completions, ..."
    )
    parser.add_argument(
        "--content-type", default="application/json", metavar="TYPE", help="Of the file (application/json)."
    )
    add_wait(parser)


INVOKE = Command(
    run, "Send a request to an endpoint, and print the answer.", _arguments,
    (
        "pf endpoint invoke -n my-endpoint --request-file request.json",
        "pf endpoint invoke -n my-endpoint -r request.json --deployment-name green",
        "echo '{\"data\": [1]}' | pf endpoint invoke -n my-endpoint -r -",
    ),
    "json",
)  # fmt: skip
