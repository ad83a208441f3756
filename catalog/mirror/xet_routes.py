"""Uploads by Xet, which clients from 1.x on use for large files wherever hf_xet is installed.

They do not ask whether the hub has it: the uploads of https://huggingface.co/docs/xet/api must be answered, or people
had to set HF_HUB_DISABLE_XET. Downloads do without: clients use Xet for files that come with X-Xet headers only.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from catalog.mirror.access import Token, writer
from catalog.mirror.paths import base_url, both, small_body
from catalog.mirror.xet_uploads import XetUploads

_SECONDS = 3600


def xet_routes(uploads: XetUploads) -> APIRouter:
    """Each needs a write token. What is not here, such as looking for chunks that are known, clients do without."""
    router = APIRouter()
    get, post, user_of = router.get, router.post, Depends(writer)

    @both(get, "/xet-write-token/{revision}")
    async def begin(
        request: Request, kind: str, name: str, revision: str, org: str = "", user: Token = user_of
    ) -> JSONResponse:
        session = await run_in_threadpool(uploads.begin)
        place, until = f"{base_url(request)}/api/xet/{session}", int(time.time()) + _SECONDS
        token = request.headers["authorization"][len("Bearer ") :].strip()
        headers = {"X-Xet-Cas-Url": place, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(until)}
        return JSONResponse({"casUrl": place, "accessToken": token, "exp": until}, headers=headers)

    @post("/api/xet/{session}/v1/xorbs/default/{xorb}")
    async def keep(request: Request, session: str, xorb: str, user: Token = user_of) -> dict[str, Any]:
        await uploads.receive(session, xorb, request.stream())
        return {"was_inserted": True}

    @post("/api/xet/{session}/v1/shards")
    async def finish(request: Request, session: str, user: Token = user_of) -> dict[str, Any]:
        shard = await small_body(request)
        await run_in_threadpool(uploads.finish, session, shard)
        return {"result": 1}

    return router
