"""Versions of assets as rows: models, and whatever else is kept by name and version. Their content never changes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.clock import now_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_WHOLE = re.compile(r"[0-9]{1,18}")
_PAGE = 1000
LATEST = "latest"
LOCK = "assets"


class AssetNotFoundError(UserErrorException):
    """There is no asset of this name, version or alias."""

    http_status = 404


class AssetExistsError(UserErrorException):
    """A version of this name is there, with other content."""

    http_status = 409


class AssetInUseError(UserErrorException):
    """Something uses the asset: it cannot be deleted."""

    http_status = 409


@dataclass(frozen=True)
class Asset:
    """One version. ``digest``: SHA-256 of its file, or of the listing of its folder (``form`` says which of the two).

    ``path`` is the name of that file or folder, ``size`` counts bytes, ``number`` counts the versions of a name in the
    order in which they were made. ``details`` holds what only some kinds have: ``source``, ``flavors``, ``card``…
    """

    kind: str
    name: str
    version: str
    type: str
    digest: str
    form: str
    size: int
    path: str
    stage: str | None = None
    description: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    archived: bool = False
    number: int = 0
    created: str = ""
    updated: str = ""

    @property
    def id(self) -> str:
        """``model:NAME:VERSION``, as lineage and uses name it."""
        return f"{self.kind}:{self.name}:{self.version}"


class Assets:
    """The versions of one kind of asset in a workspace. Reading does not import SQLAlchemy on SQLite."""

    def __init__(self, workspace: Workspace, kind: str) -> None:
        self.workspace = workspace
        self.kind = kind

    def find(self, name: str, version: str) -> Asset | None:
        """That version, archived or not, or None."""
        rows = self._select("name = :name AND version = :version", "", name=name, version=version)
        return rows[0] if rows else None

    def get(self, name: str, version: str) -> Asset:
        """That version; AssetNotFoundError says which there are."""
        return self.find(name, version) or self._missing(name, version)

    def latest(self, name: str) -> Asset:
        """The newest version that is not archived."""
        where = "name = :name AND archived = :archived"
        rows = self._select(where, "ORDER BY number DESC LIMIT 1", name=name, archived=False)
        return rows[0] if rows else self._missing(name, LATEST)

    def versions(
        self, name: str, *, archived: bool | None = False, limit: int | None = None, offset: int = 0
    ) -> list[Asset]:
        """The versions of a name, newest first. ``archived``: only those, only others, or (None) both."""
        where, values = _with_archived("name = :name", archived)
        page = "ORDER BY number DESC" + _page(limit, offset)
        return self._select(where, page, name=name, **values)

    def newest(self, *, archived: bool | None = False, limit: int | None = None, offset: int = 0) -> list[Asset]:
        """The newest version of each name, by name. A name that is archived as a whole counts as archived."""
        where, values = _with_archived("v.kind = :kind", archived, "v.archived", "n.archived")
        query = (
            "SELECT a.* FROM assets a JOIN (SELECT v.name AS name, max(v.number) AS number FROM assets v "
            f"JOIN asset_names n ON n.kind = v.kind AND n.name = v.name WHERE {where} GROUP BY v.name) m "
            "ON a.name = m.name AND a.number = m.number WHERE a.kind = :kind ORDER BY a.name" + _page(limit, offset)
        )
        rows = self.workspace.store.select("assets", query, kind=self.kind, **values)
        return [_asset(row) for row in rows]

    def every(self, name: str | None = None, *, archived: bool | None = False) -> Iterator[Asset]:
        """All versions (of a name), or without one the newest of each name, read page by page."""
        offset = 0
        while True:
            if name is None:
                page = self.newest(archived=archived, limit=_PAGE, offset=offset)
            else:
                page = self.versions(name, archived=archived, limit=_PAGE, offset=offset)
            yield from page
            if len(page) < _PAGE:
                return
            offset += _PAGE

    def with_digest(self, digest: str) -> list[Asset]:
        """The versions that have this content."""
        return self._select("digest = :digest", "ORDER BY name, number", digest=digest)

    def names(self) -> list[str]:
        """All names, those of archived versions too."""
        query = "SELECT DISTINCT name FROM assets WHERE kind = :kind ORDER BY name"
        return [str(row["name"]) for row in self.workspace.store.select("assets", query, kind=self.kind)]

    def add(self, asset: Asset) -> Asset:
        """Keep a new version; without one it gets the next whole number. To be called inside ``write(lock=LOCK)``.

        AssetExistsError if the version is taken.
        """
        check_name(asset.name)
        counter = self._counter(asset.name)
        version = asset.version or str(counter["highest"] + 1)
        check_version(version)
        if self.find(asset.name, version) is not None:
            raise AssetExistsError(
                f"{self.kind} {asset.name} has a version {version}, and versions never change.",
                hint="leave the version out to make the next one",
            )
        counter["made"] += 1
        if _WHOLE.fullmatch(version):
            counter["highest"] = max(counter["highest"], int(version))
        now = now_text()
        kept = Asset(**{**vars(asset), "version": version, "number": counter["made"], "created": now, "updated": now})
        self.workspace.store.put("asset_names", {**counter, "archived": False}, keep=())
        self.workspace.store.append("assets", [_row(kept)])
        return kept

    def change(self, asset: Asset, **values: Any) -> Asset:
        """Replace what may change of a version: description, stage, tags, properties, details, archived."""
        changed = Asset(**{**vars(asset), **values, "updated": now_text()})
        self.workspace.store.put("assets", _row(changed), keep=("created", "number", "digest", "form", "size", "path"))
        return changed

    def archive_name(self, name: str, archived: bool) -> None:
        """Hide a name with all its versions from lists, or show it again; a new version shows it, too."""
        counter = self._counter(name)
        if not counter["made"]:
            self._missing(name, "")
        with self.workspace.db.write(lock=LOCK):
            self.workspace.store.put("asset_names", {**self._counter(name), "archived": archived}, keep=())

    def remove(self, asset: Asset) -> None:
        """Forget the row of a version. Its number is never given out again."""
        where = {"kind": self.kind, "name": asset.name, "version": asset.version}
        self.workspace.store.delete_where("assets", where)

    def _counter(self, name: str) -> dict[str, Any]:
        query = "SELECT * FROM asset_names WHERE kind = :kind AND name = :name"
        rows = self.workspace.store.select("asset_names", query, kind=self.kind, name=name)
        return rows[0] if rows else {"kind": self.kind, "name": name, "made": 0, "highest": 0, "archived": False}

    def _select(self, where: str, rest: str, **values: Any) -> list[Asset]:
        query = f"SELECT * FROM assets WHERE kind = :kind AND {where} {rest}"
        return [_asset(row) for row in self.workspace.store.select("assets", query, kind=self.kind, **values)]

    def _missing(self, name: str, version: str) -> Asset:
        """Raise the error that says what there is instead."""
        versions = [asset.version for asset in self.versions(name, archived=None, limit=5)]
        if versions:
            what = "version that is not archived" if version == LATEST else f"version {version}"
            raise AssetNotFoundError(
                f"{self.kind} {name} has no {what}.", hint=f"the newest versions are {', '.join(versions)}"
            )
        known = self.names()
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        some = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
        hint = f"did you mean {' or '.join(close)}?" if close else f"there is {some or 'none yet'}"
        raise AssetNotFoundError(f"There is no {self.kind} called {name}.", hint=hint)


def check_name(name: str) -> None:
    """ValidationException for a name that no asset may have."""
    if not _NAME.fullmatch(name):
        raise ValidationException(
            f"{name[:80]!r} is not a name.", hint="letters, digits, . _ and -, a letter or digit first, 255 at most"
        )


def check_version(version: str) -> None:
    """The same for a version."""
    if not _VERSION.fullmatch(version) or version.lower() == LATEST:
        raise ValidationException(
            f"{version[:80]!r} is not a version.", hint="letters, digits, . _ + and -, 64 at most; not `latest`"
        )


def _with_archived(where: str, archived: bool | None, *columns: str) -> tuple[str, Mapping[str, Any]]:
    if archived is None:
        return where, {}
    test = f" {'OR' if archived else 'AND'} ".join(f"{column} = :archived" for column in columns or ("archived",))
    return f"{where} AND ({test})", {"archived": archived}


def _page(limit: int | None, offset: int) -> str:
    # Both are numbers of ours, no text of a user. SQLite knows OFFSET only after LIMIT.
    if limit is None and not offset:
        return ""
    return f" LIMIT {int(limit) if limit is not None else 2**62} OFFSET {int(offset)}"


def _asset(row: Mapping[str, Any]) -> Asset:
    values = dict(row)
    return Asset(**values.pop("record"), **values)


def _row(asset: Asset) -> dict[str, Any]:
    values = dict(vars(asset))
    values["record"] = {name: values.pop(name) for name in ("tags", "properties", "details")}
    return values
