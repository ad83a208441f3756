"""What the hub's clients send: new repos, files, commits, branches."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import yaml
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from catalog.mirror.access import SIGNED, WRITE, Token
from catalog.mirror.changes import parse_line
from catalog.mirror.created import Created
from catalog.mirror.paths import both, plain_id, plain_kind, plain_revision, small_body
from catalog.mirror.registered import OWNER, commit_sha
from catalog.mirror.repo import DATASETS, LARGE, MAIN, MODELS, Mirror, MirrorError, RepoNotFoundError
from catalog.mirror.uploads import Draft, Uploads
from catalog.mirror.versions import Versions

_LINE = 384 << 20  # bytes of one line of a commit: a file in base64
_SIGNED_SECONDS = 86400
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Clients from 1.0 on send large files to Xet, which this is not, unless HF_HUB_DISABLE_XET is set; they must send them
# with the commit. Such a file is in memory on both sides.
_WITH_COMMIT = 128 << 20
_CLIENT = re.compile(r"hf_hub/(\d+)")
# Of an error there hf_xet shows nothing but the address.
_NO_XET = "/no-xet-here--set-HF_HUB_DISABLE_XET=1"
XET = "This mirror has no Xet storage. Set HF_HUB_DISABLE_XET=1 and upload again."


def upload_routes(versions: Versions, uploads: Uploads, created: Created, mirror: Mirror) -> APIRouter:
    """The routes that write; each needs a write token."""
    router = APIRouter()
    get, post, delete = router.get, router.post, router.delete
    writer = Depends(_writer)
    signer = Signer()

    @post("/api/repos/create")
    async def create(request: Request, user: Token = writer) -> JSONResponse:
        body = await _json(request)
        kind = {"model": MODELS, "dataset": DATASETS}.get(str(body.get("type") or "model"))
        if kind is None:
            raise MirrorError(400, "This mirror has models and datasets only.")
        id = f"{body.get('organization') or OWNER}/{body.get('name')}"
        name = versions.name(kind, id)
        url = f"{_base(request)}/{'datasets/' if kind == DATASETS else ''}{OWNER}/{name}"
        there = await run_in_threadpool(created.add, kind, name)
        error = {"error": f"There is a {id} already."} if there else {}
        return JSONResponse({"url": url, "name": f"{OWNER}/{name}", "id": id, **error}, 409 if there else 200)

    @post("/api/validate-yaml")
    async def validate_card(request: Request) -> JSONResponse:
        errors = card_errors(str((await _json(request)).get("content") or ""))
        return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)

    @both(post, "/preupload/{revision}")
    async def preupload(
        request: Request, kind: str, name: str, revision: str, org: str = "", user: Token = writer
    ) -> dict[str, Any]:
        kind, id = plain_kind(kind), plain_id(org, name)
        versions.name(kind, id)
        files = (await _json(request)).get("files")
        try:
            asked = [(str(file["path"]), int(file["size"])) for file in files or []]
        except (KeyError, TypeError, ValueError) as error:
            raise MirrorError(400, "'files' is a list of paths and sizes.") from error
        known = await run_in_threadpool(_oids, mirror, kind, id, plain_revision(revision))
        most = _most_with_commit(request)
        return {
            "files": [
                {
                    "path": path,
                    "uploadMode": "regular" if size < most else "lfs",
                    "shouldIgnore": False,
                    "oid": known.get(path),
                }
                for path, size in asked
            ]
        }

    @both(post, "/commit/{revision}")
    async def commit(
        request: Request, kind: str, name: str, revision: str, org: str = "", user: Token = writer
    ) -> dict[str, Any]:
        kind, id, revision = plain_kind(kind), plain_id(org, name), plain_revision(revision)
        versions.name(kind, id)
        if request.query_params.get("create_pr"):
            raise MirrorError(400, "This mirror has no pull requests: commit to a branch.")
        draft = Draft(uploads)
        async for line in _lines(request.stream()):
            await run_in_threadpool(_add_line, draft, line)
        asset = await run_in_threadpool(versions.commit, kind, id, revision, draft, user.name)
        sha = commit_sha(asset)
        url = f"{_base(request)}/{'datasets/' if kind == DATASETS else ''}{OWNER}/{asset.name}/commit/{sha}"
        return {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": "", "version": asset.version}

    @both(post, "/branch/{branch}")
    async def add_branch(
        request: Request, kind: str, name: str, branch: str, org: str = "", user: Token = writer
    ) -> dict[str, str]:
        body = await _json(request)
        kind, id, branch = plain_kind(kind), plain_id(org, name), plain_revision(branch)
        start = str(body.get("startingPoint") or MAIN)
        if not await run_in_threadpool(created.takes_branch, kind, id, branch):
            await run_in_threadpool(versions.point, kind, id, branch, start)
        return {"name": branch}

    @both(post, "/tag/{revision}")
    async def add_tag(
        request: Request, kind: str, name: str, revision: str, org: str = "", user: Token = writer
    ) -> dict[str, str]:
        tag = str((await _json(request)).get("tag") or "")
        await run_in_threadpool(versions.point, plain_kind(kind), plain_id(org, name), tag, plain_revision(revision))
        return {"name": tag}

    @both(delete, "/branch/{alias}", "/tag/{alias}")
    def remove_alias(kind: str, name: str, alias: str, org: str = "", user: Token = writer) -> dict[str, str]:
        versions.forget(plain_kind(kind), plain_id(org, name), plain_revision(alias))
        return {"name": alias}

    @both(get, "/xet-write-token/{revision}")
    def xet(kind: str, name: str, revision: str, org: str = "") -> RedirectResponse:
        return RedirectResponse(_NO_XET)

    @get(_NO_XET)
    def no_xet() -> None:
        raise MirrorError(400, XET)

    _add_large_files(router, uploads, signer)
    return router


class Signer:
    """Addresses that let whoever has them upload one file, for a day: clients send no token there."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def query(self, sha256: str, size: int) -> str:
        until = int(time.time()) + _SIGNED_SECONDS
        return f"size={size}&until={until}&signature={self._signature(sha256, size, until)}"

    def check(self, sha256: str, size: int, until: int, signature: str) -> None:
        good = hmac.compare_digest(signature.encode(), self._signature(sha256, size, until).encode())
        if not good or until < time.time():
            raise MirrorError(403, "This address is not for uploads, or not any more: upload again.")

    def _signature(self, sha256: str, size: int, until: int) -> str:
        return hmac.new(self._key, f"{sha256}:{size}:{until}".encode(), hashlib.sha256).hexdigest()


def _add_large_files(router: APIRouter, uploads: Uploads, signer: Signer) -> None:
    """Git LFS's batch API (https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md), transfer "basic"."""

    async def batch(request: Request, user: Token = Depends(_writer)) -> JSONResponse:  # noqa: B008
        body = await _json(request)
        if body.get("operation") != "upload":
            raise MirrorError(400, "Files are downloaded from /resolve/, not by the batch API.")
        try:
            asked = [(str(one["oid"]), int(one["size"])) for one in body.get("objects") or []]
        except (KeyError, TypeError, ValueError) as error:
            raise MirrorError(400, "'objects' is a list of hashes and sizes.") from error
        base = _base(request)
        found = await run_in_threadpool(lambda: [_action(uploads, signer, base, oid, size) for oid, size in asked])
        answer = {"transfer": "basic", "objects": found, "hash_algo": "sha256"}
        return JSONResponse(answer, media_type="application/vnd.git-lfs+json")

    async def put(request: Request, oid: str, size: int, until: int, signature: str) -> Response:
        signer.check(oid, size, until, signature)
        await uploads.receive(oid, size, request.stream())
        return Response(headers={"ETag": f'"{oid}"'})

    for id in ("/{name}", "/{org}/{name}", "/datasets/{org}/{name}"):
        router.add_api_route(f"{id}.git/info/lfs/objects/batch", batch, methods=["POST"], response_model=None)
    router.add_api_route(SIGNED + "{oid}", put, methods=["PUT"], response_model=None)


def _action(uploads: Uploads, signer: Signer, base: str, oid: str, size: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"oid": oid, "size": size}
    if not _SHA256.fullmatch(oid) or size < 0:
        return {**answer, "error": {"code": 422, "message": "Files are named by their sha256."}}
    if uploads.has(oid):
        return answer
    try:
        uploads.check_room(size)
    except MirrorError as error:
        return {**answer, "error": {"code": error.status, "message": error.message}}
    href = f"{base}{SIGNED}{oid}?{signer.query(oid, size)}"
    return {**answer, "authenticated": True, "actions": {"upload": {"href": href}}}


def card_errors(content: str) -> list[dict[str, str]]:
    """What is wrong with the front matter of a card."""
    if not content.startswith("---"):
        return []
    front = content.split("\n---", 1)[0].removeprefix("---")
    try:
        data = yaml.safe_load(front)
    except yaml.YAMLError as error:
        return [{"message": f"The front matter is no YAML: {error}"}]
    return [] if data is None or isinstance(data, dict) else [{"message": "The front matter is a mapping."}]


def _writer(request: Request) -> Token:
    token: Token | None = request.scope["state"]["token"]
    if token is None or token.role != WRITE:
        raise MirrorError(403, "Uploads need a write token of this mirror: pf catalog mirror-token NAME --write")
    return token


def _most_with_commit(request: Request) -> int:
    client = _CLIENT.search(request.headers.get("user-agent", ""))
    return _WITH_COMMIT if client and int(client[1]) >= 1 else LARGE


def _oids(mirror: Mirror, kind: str, id: str, revision: str) -> dict[str, str]:
    """What git calls the files that are there, so that clients can leave out those that did not change."""
    for at in (revision, MAIN):
        try:
            return {path: entry.oid for path, entry in mirror.find(kind, id, at).entries.items()}
        except RepoNotFoundError:
            return {}
        except MirrorError:
            continue
    return {}


def _add_line(draft: Draft, line: bytes) -> None:
    draft.add(parse_line(line))


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await small_body(request) or b"{}")
    except (ValueError, RecursionError) as error:
        raise MirrorError(400, "This is no JSON.") from error
    if not isinstance(body, dict):
        raise MirrorError(400, "This is no JSON object.")
    return body


async def _lines(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a body, each of at most ``_LINE`` bytes."""
    parts: list[bytes] = []
    length = 0
    async for piece in body:
        *whole, rest = piece.split(b"\n")
        for line in whole:
            yield b"".join([*parts, line])
            parts, length = [], 0
        parts.append(rest)
        length += len(rest)
        if length > _LINE:
            raise MirrorError(413, f"A file of more than {_WITH_COMMIT} bytes cannot come with the commit. {XET}")
    yield b"".join(parts)
