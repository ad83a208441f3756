"""The registry of models: versions that never change, with aliases, stages, tags, lineage and cards that may."""

from __future__ import annotations

import getpass
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from catalog.aliases import Aliases, check_alias
from catalog.assets import LATEST, LOCK, Asset, AssetExistsError, AssetInUseError, AssetNotFoundError, Assets
from catalog.contents import Contents, File
from catalog.flavors import base_model, check_content
from catalog.lineage import DATA, ORIGIN, PARENT, RUN, Edge, Lineage
from catalog.references import Reference, is_hub_id, parse_reference
from catalog.schemas import ModelSpec, check_stage, check_texts
from catalog.sources import Source, opened
from catalog.uses import Uses, told
from promptflow.exceptions import UserErrorException, ValidationException, WorkspaceError
from promptflow.workspace import Workspace
from promptflow.workspace.blobs import Blob

KIND = "model"
_CARD = "README.md"  # the hub's name for a card
_ATTEMPTS = 5
_DELETED = "model.deleted"


class Registry:
    """The models of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.assets = Assets(workspace, KIND)
        self.aliases = Aliases(self.assets)
        self.contents = Contents(workspace)
        self.lineage = Lineage(workspace)
        self.uses = Uses(workspace)

    def create(self, spec: ModelSpec) -> Asset:
        """Register a model. A version that is there with the same content gets the new description, tags and so on;
        with other content it is an AssetExistsError."""
        for alias in spec.aliases:
            check_alias(alias)
        card = read_card(spec.folder / spec.card) if spec.card is not None else None
        with opened(spec.path, spec.folder, self.workspace) as source:
            flavors = check_content(spec.type, source.path, spec.flavors)
            edges = self._edges(spec, source)
            # What was pulled is content-addressed: it need not be on the disk twice.
            blob = self.contents.put(source.path, link=bool(source.hub))
            asset = _asset(
                spec, blob, source, {"flavors": flavors, "system_metadata": spec.system_metadata, "card": card}
            )
            for _ in range(_ATTEMPTS):
                kept = self._keep(asset, blob, edges, spec.aliases)
                if kept is not None:
                    return kept
                blob = self.contents.put(source.path, link=bool(source.hub))  # a blob of it was deleted meanwhile
        raise WorkspaceError(f"The files of {spec.name} were deleted while they were being kept.", hint="try again")

    def create_from_files(
        self, name: str, files: Sequence[File], *, edges: Sequence[Edge] = (), **fields: Any
    ) -> Asset:
        """Register a folder whose files are in the workspace's blobs already, as an upload leaves them. ``fields``: of
        Asset. The ``made`` of edges is filled in."""
        content = _content(self.contents.put_files(files))
        return self.keep(
            Asset(KIND, name, **{"version": "", "type": "custom_model", "path": name, **fields, **content}), edges
        )

    def keep(self, asset: Asset, edges: Sequence[Edge] = ()) -> Asset:
        """Register a version whose content is in the workspace's blobs already."""
        kept = self._keep(asset, Blob(asset.digest, asset.size, asset.form), edges, ())
        if kept is None:
            place = self.workspace.blobs.place
            raise WorkspaceError(f"Files of {asset.name} are not in {place} any more.", hint="try again")
        return kept

    def get(self, reference: str | Reference) -> Asset:
        """``name``, ``name:version``, ``name@alias`` and the other forms of :func:`parse_reference`."""
        wanted = parse_reference(reference, KIND) if isinstance(reference, str) else reference
        if wanted.version:
            return self.assets.get(wanted.name, wanted.version)
        found = self.aliases.find(wanted.name, wanted.alias or LATEST)
        if found is None:
            self.assets.latest(wanted.name)  # says so if there is no such model at all
            aliases = [*self.aliases.of(wanted.name), LATEST]
            raise AssetNotFoundError(
                f"model {wanted.name} has no alias {wanted.alias}.", hint=f"it has {', '.join(aliases)}"
            )
        return found

    def list(
        self,
        name: str | None = None,
        *,
        stage: str | None = None,
        type: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        archived: bool | None = False,
        limit: int | None = None,
    ) -> list[Asset]:
        """Versions of a model, newest first; without a name the newest version of each. ``tags``: with these values,
        or (None) with any."""
        if stage is None and type is None and not tags:
            found = self.assets.newest if name is None else lambda **page: self.assets.versions(str(name), **page)
            return found(archived=archived, limit=limit)
        matching = (
            asset
            for asset in self.assets.every(name, archived=archived)
            if (stage is None or asset.stage == stage)
            and (type is None or asset.type == type)
            and all(key in asset.tags and value in (None, asset.tags[key]) for key, value in (tags or {}).items())
        )
        return [*itertools.islice(matching, limit)]

    def update(self, asset: Asset, changes: Mapping[str, Any]) -> Asset:
        """Replace ``description``, ``stage``, ``tags``, ``properties``, ``card``. What is in the version stays."""
        values = dict(_changes(changes))
        with self.workspace.db.write(lock=LOCK):
            current = self.assets.get(asset.name, asset.version)
            if "card" in values:
                values["details"] = {**current.details, "card": values.pop("card")}
            kept = self.assets.change(current, **values)
            self.workspace.events.append("model.updated", kept.id, {"changed": sorted(changes)})
        return kept

    def archive(self, asset: Asset, archived: bool = True) -> Asset:
        """Hide a version from lists, or show it again."""
        with self.workspace.db.write(lock=LOCK):
            return self.assets.change(self.assets.get(asset.name, asset.version), archived=archived)

    def delete(self, asset: Asset) -> None:
        """Forget a version for good, with the files that no other version has. AssetInUseError while it is used."""
        with self.workspace.db.write(lock=LOCK):
            users = self.uses.of(asset.id)
            if users:
                raise AssetInUseError(
                    f"model {asset.name}:{asset.version} is used by {', '.join(map(told, users))}.",
                    hint="stop or delete what uses it first, or `pf model archive` to hide it",
                )
            self.uses.forget(asset.id)
            self.aliases.forget(asset)
            self.assets.remove(asset)
            blobs = self.contents.forget(asset.digest)
            self.workspace.events.append(_DELETED, asset.id, {"digest": asset.digest})
        self.contents.sweep(asset.digest, blobs)

    def download(self, asset: Asset, folder: Path) -> Path:
        """Write the files to ``folder/NAME/PATH``, as `az ml model download` does; the path."""
        target = folder / asset.name / asset.path
        self.contents.copy(asset, target)
        return target

    def files(self, asset: Asset) -> Sequence[File]:
        """What a version holds."""
        return self.contents.files(asset)

    def folder(self, asset: Asset) -> Path:
        """Its file or folder, laid out in the workspace to be read in place."""
        return self.contents.lay_out(asset)

    def card(self, asset: Asset) -> str:
        """Its card: the one that was given, else the README.md in it; empty where there is none."""
        if asset.details.get("card"):
            return str(asset.details["card"])
        inside = [file for file in self.files(asset) if file.path == _CARD]
        return self.workspace.blobs.get(inside[0].digest).decode("utf-8", "replace") if inside else ""

    def _keep(self, asset: Asset, blob: Blob, edges: Sequence[Edge], aliases: tuple[str, ...]) -> Asset | None:
        """The rows of a new version, in one transaction; None if a blob of it has gone."""
        with self.workspace.db.write(lock=LOCK):
            there = self.assets.find(asset.name, asset.version) if asset.version else None
            if there is None:
                self._refuse_deleted(asset)
                if not self.contents.claim(blob):
                    return None
                kept = self.assets.add(asset)
                self.workspace.events.append("model.created", kept.id, {"digest": kept.digest, "type": kept.type})
            else:
                kept = self._again(there, asset)
            self.lineage.add(Edge(kept.id, edge.relation, edge.source) for edge in edges)
            for alias in aliases:
                self.aliases.set(kept, alias)
        return kept

    def _refuse_deleted(self, asset: Asset) -> None:
        """A version that was deleted does not come back with other content: whoever knows it by name trusts in that."""
        deleted = self.workspace.store.select(
            "events", "SELECT payload FROM events WHERE kind = :kind AND subject = :id", kind=_DELETED, id=asset.id
        )
        if any(event["payload"].get("digest") != asset.digest for event in deleted):
            raise AssetExistsError(
                f"model {asset.name} had a version {asset.version} with other content, which was deleted.",
                hint="leave the version out to make the next one",
            )

    def _again(self, there: Asset, asset: Asset) -> Asset:
        if (there.digest, there.type) != (asset.digest, asset.type):
            raise AssetExistsError(
                f"model {there.name} has a version {there.version} with other content, and versions never change.",
                hint="leave the version out to make the next one",
            )
        changed = {
            "description": asset.description if asset.description is not None else there.description,
            "stage": asset.stage or there.stage,
            "tags": {**there.tags, **asset.tags},
            "properties": {**there.properties, **asset.properties},
            "details": {**there.details, **{key: value for key, value in asset.details.items() if value}},
        }
        return self.assets.change(there, **changed)

    def _edges(self, spec: ModelSpec, source: Source) -> Sequence[Edge]:
        runs = {name for name in (self._run(spec.run), source.run) if name}
        parents = [self._parent(parent) for parent in spec.parent] or self._bases(source)
        return [
            *(Edge("", RUN, f"run:{name}") for name in sorted(runs)),
            *(Edge("", DATA, name if ":/" in name else f"data:{name}") for name in spec.data),
            *(Edge("", PARENT, parent) for parent in parents),
            *([Edge("", ORIGIN, f"hub:{source.hub}")] if source.hub else []),
        ]

    def _run(self, name: str | None) -> str | None:
        if name and self.workspace.store.get("runs", name) is None:
            raise UserErrorException(
                f"There is no run {name} that could have made the model.",
                hint="pf run list shows the runs; leave it out for a model that was made elsewhere",
            )
        return name

    def _parent(self, name: str) -> str:
        """The id of a parent: a version here, else a model of the hub."""
        try:
            return self.get(name).id
        except (AssetNotFoundError, ValidationException):
            if is_hub_id(name):
                return f"hub:{name}"
            raise

    def _bases(self, source: Source) -> Sequence[str]:
        """The model that an adapter says it was trained on, unless that is a folder somewhere."""
        base = base_model(source.path)
        try:
            return [self._parent(base)] if base else []
        except (AssetNotFoundError, ValidationException):
            return []


def record(asset: Asset, aliases: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A version as `pf model show` writes it: the keys of `az ml model show`, and ours."""
    return {
        "name": asset.name,
        "version": asset.version,
        "type": asset.type,
        "stage": asset.stage,
        "description": asset.description,
        "tags": asset.tags,
        "properties": asset.properties,
        **(
            {"aliases": sorted(a for a, version in aliases.items() if version == asset.version)}
            if aliases is not None
            else {}
        ),
        "path": asset.path,
        "digest": f"sha256:{asset.digest}",
        "size": asset.size,
        "source": asset.details.get("source"),
        "flavors": asset.details.get("flavors") or {},
        "archived": asset.archived,
        "creation_context": {
            "created_at": asset.created,
            "created_by": asset.details.get("created_by"),
            "last_modified_at": asset.updated,
        },
        "id": f"azureml:{asset.name}:{asset.version}",
    }


def _asset(spec: ModelSpec, blob: Blob, source: Source, details: dict[str, Any]) -> Asset:
    details = {key: value for key, value in details.items() if value}
    details |= {"source": source.origin, "created_by": _user()}
    return Asset(
        KIND, spec.name, spec.version, spec.type, path=source.name, stage=spec.stage,
        description=spec.description, tags=spec.tags, properties=spec.properties, details=details, **_content(blob),
    )  # fmt: skip


def _content(blob: Blob) -> dict[str, Any]:
    return {"digest": blob.digest, "form": blob.kind, "size": blob.size}


def _changes(changes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in changes.items():
        match key:
            case "stage":
                yield key, None if value is None else check_stage(value)
            case "tags" | "properties":
                yield key, check_texts(key, value)
            case "description" | "card":
                yield key, None if value is None else str(value)
            case _:
                raise ValidationException(
                    f"{key!r} of a version never changes.", hint="description, stage, tags, properties and card do"
                )


def read_card(path: Path) -> str:
    """The text of a card's file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValidationException(
            f"The card {path} cannot be read: {error}.", hint="a text file, as README.md"
        ) from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container with a user id that has no name
        return ""
