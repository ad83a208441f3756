"""Large files of an upload, by Git LFS's batch API and its transfer "basic".

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from catalog.mirror.access import SIGNED, Token, writer
from catalog.mirror.errors import MirrorError
from catalog.mirror.paths import base_url, json_body
from catalog.mirror.uploads import Uploads

_SIGNED_SECONDS = 86400
_SHA256 = re.compile(r"[0-9a-f]{64}")


def lfs_routes(uploads: Uploads) -> APIRouter:
    """Where clients ask what to send, and where they send it."""
    router, signer = APIRouter(), Signer()

    async def batch(request: Request, user: Token = Depends(writer)) -> JSONResponse:  # noqa: B008
        body = await json_body(request)
        if body.get("operation") != "upload":
            raise MirrorError(400, "Files are downloaded from /resolve/, not by the batch API.")
        try:
            asked = [(str(one["oid"]), int(one["size"])) for one in body.get("objects") or []]
        except (KeyError, TypeError, ValueError) as error:
            raise MirrorError(400, "'objects' is a list of hashes and sizes.") from error
        base = base_url(request)
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
