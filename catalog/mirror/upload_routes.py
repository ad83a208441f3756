"""What the hub's clients send: new repos, files, commits, branches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import yaml
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from catalog.mirror.access import Token, writer
from catalog.mirror.alias_routes import alias_routes
from catalog.mirror.changes import parse_line
from catalog.mirror.created import Created
from catalog.mirror.entries import LARGE
from catalog.mirror.errors import MirrorError, RepoNotFoundError
from catalog.mirror.lfs_routes import lfs_routes
from catalog.mirror.paths import base_url, both, json_body, plain_id, plain_kind, plain_revision
from catalog.mirror.registered import OWNER, commit_sha
from catalog.mirror.repo import DATASETS, MAIN, MODELS, Mirror
from catalog.mirror.uploads import Draft, Uploads
from catalog.mirror.versions import Versions
from catalog.mirror.xet_routes import xet_routes
from catalog.mirror.xet_uploads import XetUploads

_LINE = 8 << 20  # bytes of one line of a commit: a file in base64


def upload_routes(versions: Versions, uploads: Uploads, created: Created, mirror: Mirror) -> APIRouter:
    """The routes that write; each needs a write token."""
    router = APIRouter()
    _add_repos(router, versions, created)
    _add_commits(router, versions, uploads, mirror)
    router.include_router(alias_routes(versions, created))
    router.include_router(lfs_routes(uploads))
    router.include_router(xet_routes(XetUploads(uploads)))
    return router


def _add_repos(router: APIRouter, versions: Versions, created: Created) -> None:
    post, user_of = router.post, Depends(writer)

    @post("/api/repos/create")
    async def create(request: Request, user: Token = user_of) -> JSONResponse:
        body = await json_body(request)
        kind = {"model": MODELS, "dataset": DATASETS}.get(str(body.get("type") or "model"))
        if kind is None:
            raise MirrorError(400, "This mirror has models and datasets only.")
        id = f"{body.get('organization') or OWNER}/{body.get('name')}"
        name = versions.name(kind, id)
        url = f"{base_url(request)}/{'datasets/' if kind == DATASETS else ''}{OWNER}/{name}"
        there = await run_in_threadpool(created.add, kind, name)
        error = {"error": f"There is a {id} already."} if there else {}
        return JSONResponse({"url": url, "name": f"{OWNER}/{name}", "id": id, **error}, 409 if there else 200)

    @post("/api/validate-yaml")
    async def validate_card(request: Request) -> JSONResponse:
        errors = card_errors(str((await json_body(request)).get("content") or ""))
        return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)


def _add_commits(router: APIRouter, versions: Versions, uploads: Uploads, mirror: Mirror) -> None:
    post, user_of = router.post, Depends(writer)

    @both(post, "/preupload/{revision}")
    async def preupload(
        request: Request, kind: str, name: str, revision: str, org: str = "", user: Token = user_of
    ) -> dict[str, Any]:
        kind, id = plain_kind(kind), plain_id(org, name)
        versions.name(kind, id)
        files = (await json_body(request)).get("files")
        try:
            asked = [(str(file["path"]), int(file["size"])) for file in files or []]
        except (KeyError, TypeError, ValueError) as error:
            raise MirrorError(400, "'files' is a list of paths and sizes.") from error
        known = await run_in_threadpool(_oids, mirror, kind, id, plain_revision(revision))
        return {
            "files": [
                {
                    "path": path,
                    "uploadMode": "regular" if size < LARGE else "lfs",
                    "shouldIgnore": False,
                    "oid": known.get(path),
                }
                for path, size in asked
            ]
        }

    @both(post, "/commit/{revision}")
    async def commit(
        request: Request, kind: str, name: str, revision: str, org: str = "", user: Token = user_of
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
        url = f"{base_url(request)}/{'datasets/' if kind == DATASETS else ''}{OWNER}/{asset.name}/commit/{sha}"
        return {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": "", "version": asset.version}


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
            raise MirrorError(413, "A file this large cannot come with the commit: upload it first.")
    yield b"".join(parts)
