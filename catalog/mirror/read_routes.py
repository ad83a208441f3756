"""What the hub's clients read: facts, lists of files, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from catalog.mirror import describe
from catalog.mirror.access import Token
from catalog.mirror.errors import MirrorError
from catalog.mirror.facts import KnownFacts
from catalog.mirror.files import file_response, served
from catalog.mirror.known_files import KnownFiles, KnownRepos
from catalog.mirror.listing import Listing
from catalog.mirror.paths import both, plain_id, plain_kind, plain_revision, slashes, small_body
from catalog.mirror.repo import DATASETS, MODELS, Mirror, Repo
from catalog.mirror.search import next_link, page, parse_cursor, parse_query

_TREE_PAGE = 1000


def read_routes(mirror: Mirror, facts: KnownFacts, known: KnownFiles) -> APIRouter:
    """The routes of a mirror that change nothing."""
    router = APIRouter()
    get, post = router.get, router.post
    listing = Listing(mirror, facts)
    repos = KnownRepos(mirror)
    main, at = Depends(_main(repos)), Depends(_at(repos))

    @get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @get("/api/whoami-v2")
    def whoami(request: Request) -> dict[str, Any]:
        token: Token | None = request.scope["state"]["token"]
        if token is None:
            raise MirrorError(401, "This mirror has no tokens: anybody may read.")
        access = {"displayName": token.name, "role": token.role}
        return {"type": "user", "name": token.name, "orgs": [], "auth": {"type": "access_token", "accessToken": access}}

    @get("/api/{kind}")
    def search(kind: str, request: Request, full: bool = False) -> JSONResponse:
        asked = parse_query(request.query_params.multi_items())
        found, following = page(asked, listing.all(plain_kind(kind), files=full))
        return _paged(request, found, following)

    @both(get, "/refs")
    def refs(kind: str, name: str, org: str = "") -> dict[str, Any]:
        return describe.refs(mirror.refs(plain_kind(kind), plain_id(org, name)))

    @both(get, "/auth-check")
    def auth_check(repo: Repo = main) -> dict[str, str]:
        return {"id": repo.id}

    @both(get, "/commits/{revision}")
    def commits(revision: str, repo: Repo = at) -> list[dict[str, Any]]:
        return describe.commits(mirror.commits(repo.kind, repo.id, plain_revision(revision)))

    @both(get, "/revision/{revision}")
    def info_at(repo: Repo = at, blobs: bool = False) -> dict[str, Any]:
        return describe.info(repo, facts.of(repo), blobs=blobs)

    @both(get, "/tree/{revision}", "/tree/{revision}/{path:path}")
    def tree(
        request: Request,
        repo: Repo = at,
        path: str = "",
        recursive: bool = False,
        expand: bool = False,
        limit: Annotated[int, Query(ge=1, le=_TREE_PAGE)] = _TREE_PAGE,
        cursor: str = "",
    ) -> JSONResponse:
        items = describe.tree(repo, slashes(path), recursive=recursive, expand=expand)
        start = parse_cursor(cursor)
        return _paged(request, items[start : start + limit], start + limit if len(items) > start + limit else 0)

    @both(post, "/paths-info/{revision}")
    async def paths_info(request: Request, repo: Repo = at) -> list[dict[str, Any]]:
        paths, expand = _asked_paths(request.headers.get("content-type", ""), await small_body(request))
        return describe.paths_info(repo, paths, expand=expand)

    @both(get, "")
    def info(repo: Repo = main, blobs: bool = False) -> dict[str, Any]:
        return describe.info(repo, facts.of(repo), blobs=blobs)

    _add_files(router, repos, known)
    return router


def _add_files(router: APIRouter, repos: KnownRepos, known: KnownFiles) -> None:
    def answer(kind: str, id: str, revision: str, path: str, request: Request) -> Response:
        repo = repos.with_file(kind, id, plain_revision(revision), slashes(path))
        file = served(repo, repo.entry(slashes(path)))
        if plain_revision(revision) == repo.sha:
            known.add(request.scope["path"], file)
        return file_response(file, request.headers)

    def resolve(request: Request, revision: str, path: str, name: str, org: str = "") -> Response:
        return answer(MODELS, plain_id(org, name), revision, path, request)

    def resolve_data(request: Request, revision: str, path: str, name: str, org: str = "") -> Response:
        return answer(DATASETS, plain_id(org, name), revision, path, request)

    # Data sets first: their address begins as that of a model would.
    for prefix, route in (("/datasets", resolve_data), ("", resolve)):
        for id in ("/{org}/{name}", "/{name}"):
            for verb in ("resolve", "raw"):
                path = f"{prefix}{id}/{verb}/{{revision}}/{{path:path}}"
                router.add_api_route(path, route, methods=["GET", "HEAD"], response_model=None)


def _paged(request: Request, found: list[dict[str, Any]], following: int) -> JSONResponse:
    """One page; ``following`` is where the next one begins, 0 if there is none."""
    url = str(request.url.replace(query=""))
    return JSONResponse(found, headers={"Link": next_link(url, request.url.query, following)} if following else {})


def _main(repos: KnownRepos) -> Callable[..., Repo]:
    def find(kind: str, name: str, org: str = "") -> Repo:
        return repos.find(plain_kind(kind), plain_id(org, name))

    return find


def _at(repos: KnownRepos) -> Callable[..., Repo]:
    def find(kind: str, name: str, revision: str, org: str = "") -> Repo:
        return repos.find(plain_kind(kind), plain_id(org, name), plain_revision(revision))

    return find


def _asked_paths(kind: str, body: bytes) -> tuple[list[str], bool]:
    """``paths`` and ``expand`` of a form (as huggingface_hub sends them) or of JSON."""
    try:
        if kind.startswith("application/json"):
            found = json.loads(body)
            paths, expand = found["paths"], bool(found.get("expand"))
        else:
            form = parse_qs(body.decode())
            paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
        return [str(path) for path in paths], expand
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MirrorError(400, "This is no list of paths.") from error
