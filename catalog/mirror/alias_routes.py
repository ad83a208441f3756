"""Branches and tags: clients make and delete what the registry calls aliases."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from catalog.mirror.access import Token, writer
from catalog.mirror.created import Created
from catalog.mirror.paths import both, json_body, plain_id, plain_kind, plain_revision
from catalog.mirror.repo import MAIN
from catalog.mirror.versions import Versions


def alias_routes(versions: Versions, created: Created) -> APIRouter:
    """Each needs a write token."""
    router = APIRouter()
    post, delete, user_of = router.post, router.delete, Depends(writer)

    @both(post, "/branch/{branch}")
    async def add_branch(
        request: Request, kind: str, name: str, branch: str, org: str = "", user: Token = user_of
    ) -> dict[str, str]:
        body = await json_body(request)
        kind, id, branch = plain_kind(kind), plain_id(org, name), plain_revision(branch)
        start = str(body.get("startingPoint") or MAIN)
        if not await run_in_threadpool(created.takes_branch, kind, id, branch):
            await run_in_threadpool(versions.point, kind, id, branch, start)
        return {"name": branch}

    @both(post, "/tag/{revision}")
    async def add_tag(
        request: Request, kind: str, name: str, revision: str, org: str = "", user: Token = user_of
    ) -> dict[str, str]:
        tag = str((await json_body(request)).get("tag") or "")
        await run_in_threadpool(versions.point, plain_kind(kind), plain_id(org, name), tag, plain_revision(revision))
        return {"name": tag}

    @both(delete, "/branch/{alias}", "/tag/{alias}")
    def remove_alias(kind: str, name: str, alias: str, org: str = "", user: Token = user_of) -> dict[str, str]:
        versions.forget(plain_kind(kind), plain_id(org, name), plain_revision(alias))
        return {"name": alias}

    return router
