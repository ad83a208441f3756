"""Which repos a search finds, in which order, page by page. Pure functions over the JSON of repos."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from catalog.mirror.errors import MirrorError

MOST = 1000  # of one page
_SORTS = {
    "downloads": "downloads", "likes": "likes", "lastModified": "lastModified", "last_modified": "lastModified",
    "createdAt": "createdAt", "created_at": "createdAt", "trendingScore": "lastModified",
    "trending_score": "lastModified",
}  # fmt: skip
_TAGGED = ("filter", "tags", "library", "language", "license", "apps", "trained_dataset", "task_categories")


@dataclass(frozen=True)
class Query:
    """What a search asks for. ``tags``: all of them must be there."""

    search: str = ""
    author: str = ""
    task: str = ""
    tags: tuple[str, ...] = ()
    sort: str = "lastModified"
    descending: bool = True
    limit: int = MOST
    offset: int = 0


def parse_query(pairs: Sequence[tuple[str, str]]) -> Query:
    """From the query string of a request; what it does not know it leaves."""
    given = dict(pairs)
    sort = given.get("sort") or "lastModified"
    if sort not in _SORTS:
        raise MirrorError(400, f"Cannot sort by {sort}: one of {', '.join(_SORTS)}.")
    return Query(
        search=given.get("search", "").lower(),
        author=given.get("author", "").lower(),
        task=given.get("pipeline_tag", ""),
        tags=tuple(value for key, values in pairs if key in _TAGGED for value in values.split(",") if value),
        sort=_SORTS[sort],
        descending=given.get("direction", "-1") != "1",
        limit=max(1, min(_number(given.get("limit"), MOST), MOST)),
        offset=parse_cursor(given.get("cursor", "")),
    )


def page(query: Query, found: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The repos of one page, and where the next one begins, 0 if there is none."""
    matching = [one for one in found if _matches(query, one)]
    matching.sort(key=lambda one: str(one["id"]).lower())
    matching.sort(key=lambda one: one[query.sort], reverse=query.descending)
    end = query.offset + query.limit
    return matching[query.offset : end], end if len(matching) > end else 0


def next_link(url: str, query_string: str, following: int) -> str:
    """The Link header that leads to the next page of a request."""
    again = [(key, value) for key, value in parse_qsl(query_string) if key != "cursor"]
    cursor = base64.urlsafe_b64encode(str(following).encode()).decode()
    return f'<{url}?{urlencode([*again, ("cursor", cursor)])}>; rel="next"'


def _matches(query: Query, one: dict[str, Any]) -> bool:
    id = str(one["id"]).lower()
    return (
        all(word in id for word in query.search.split())
        and (not query.author or id.startswith(f"{query.author}/"))
        and (not query.task or one.get("pipeline_tag") == query.task)
        and set(query.tags) <= {*one["tags"]}
    )


def _number(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError as error:
        raise MirrorError(400, f"'limit' is a number, not {text!r}.") from error


def parse_cursor(cursor: str) -> int:
    """Where a page begins."""
    try:
        return max(0, int(base64.urlsafe_b64decode(cursor.encode()))) if cursor else 0
    except (ValueError, binascii.Error) as error:
        raise MirrorError(400, "This cursor is not one of this server's.") from error
