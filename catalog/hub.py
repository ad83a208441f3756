"""The Hugging Face Hub, or any server that speaks its HTTP contract. The only file that imports huggingface_hub."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from catalog.huberrors import EmptyFileError, HubError, error_from_hub
from catalog.hubinfo import ModelInfo, model_info
from promptflow._version import __version__
from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need

ENDPOINT = "https://huggingface.co"
ENDPOINT_VARIABLE = "HF_ENDPOINT"
SMALL = 8 << 20  # bytes; no card, config or index of a model is near it
SORTS = {"downloads": "downloads", "likes": "likes", "updated": "last_modified", "trending": "trending_score"}
# What the list of models says about each; more costs the server and the line more.
_LISTED = (
    "author", "config", "downloads", "gated", "gguf", "lastModified", "library_name", "likes", "pipeline_tag",
    "private", "safetensors", "sha", "tags",
)  # fmt: skip


def endpoint_url(endpoint: str | None = None) -> str:
    """The server given, else ``HF_ENDPOINT``, else the public hub."""
    chosen = (endpoint or os.environ.get(ENDPOINT_VARIABLE, "").strip() or ENDPOINT).rstrip("/")
    if not chosen.startswith(("http://", "https://")):
        raise ValidationException(
            f"The hub's address must begin with http:// or https://, found {chosen!r}.",
            hint=f"set {ENDPOINT_VARIABLE} or --endpoint",
        )
    return chosen


class Hub:
    """One hub and who asks it.

    ``token`` None: the one of ``HF_TOKEN`` or ``hf auth login``, if any; False: none. ``traffic`` counts the bytes of
    files that ``read_range`` and ``read_small`` got. Every method raises a HubError that says what to do.
    """

    def __init__(self, endpoint: str | None = None, token: str | bool | None = None) -> None:
        self.endpoint = endpoint_url(endpoint)
        self.token = token
        self.traffic = 0
        self._opened: Any = None  # huggingface_hub.HfApi

    def model(self, id: str, revision: str | None = None) -> ModelInfo:
        """What the hub knows of a model at a branch, tag or commit, with its files, their sizes and hashes."""
        with self._errors(id, revision):
            return model_info(self._api().model_info(id, revision=revision, files_metadata=True, timeout=30))

    def search(
        self,
        text: str = "",
        *,
        task: str = "",
        author: str = "",
        tags: tuple[str, ...] = (),
        parameters: str = "",
        sort: str = "downloads",
        gated: bool | None = None,
        limit: int | None = None,
    ) -> Iterator[ModelInfo]:
        """Models without their files, page after page as they are asked for.

        ``tags`` are the hub's own words, such as ``license:mit`` or ``gguf``; ``parameters``, such as
        ``min:1B,max:8B``, is a hint: a server that does not know it ignores it.
        """
        if sort not in SORTS:
            raise ValidationException(f"Models cannot be sorted by {sort}.", hint=f"one of {', '.join(SORTS)}")
        with self._errors(text):
            yield from map(
                model_info,
                self._api().list_models(
                    search=text or None,
                    pipeline_tag=task or None,
                    author=author or None,
                    filter=list(tags) or None,
                    num_parameters=parameters or None,
                    sort=SORTS[sort],
                    gated=gated,
                    limit=limit,
                    expand=list(_LISTED),
                ),
            )

    def auth_check(self, id: str) -> None:
        """HubGatedError, HubNotFoundError or HubTokenError unless the token may read the files of the model."""
        with self._errors(id):
            self._api().auth_check(id)

    def user(self) -> str:
        """Whose token it is; HubTokenError if there is none, or it is not valid any more."""
        with self._errors("the user of the token"):
            return str(self._api().whoami().get("name", ""))

    def read_range(self, id: str, revision: str, file: str, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end`` (not included) of a file; fewer where the file ends before."""
        if not 0 <= start < end:
            raise ValidationException(f"There are no bytes from {start} to {end}.")
        return self._read(id, revision, file, {"Range": f"bytes={start}-{end - 1}"}, end - start, start)

    def read_small(self, id: str, revision: str, file: str, limit: int = SMALL) -> bytes:
        """A whole file; HubError if it is larger than ``limit`` bytes."""
        data = self._read(id, revision, file, {}, limit + 1, 0)
        if len(data) > limit:
            raise HubError(f"{file} of {id} is larger than {limit} bytes.", hint="this is no small file: pull it")
        return data

    def file_url(self, id: str, revision: str, file: str) -> str:
        """Where the bytes of a file are, before redirects."""
        return f"{self.endpoint}/{quote(id)}/resolve/{quote(revision, safe='')}/{quote(file)}"

    def page_url(self, id: str) -> str:
        """Where people read about a model, and accept its licence."""
        return f"{self.endpoint}/{quote(id)}"

    def headers(self) -> dict[str, str]:
        """The headers of a request to the endpoint; those with a token must not go to another host."""
        with self._errors("the token"):
            self._api()
            utils = need("huggingface_hub.utils", extra="catalog")
            headers = utils.build_hf_headers(token=self.token, library_name="promptflow", library_version=__version__)
            return {**headers, "Accept-Encoding": "identity"}

    def _api(self) -> Any:
        if self._opened is None:
            hub = need("huggingface_hub", extra="catalog")
            # No telemetry; newer versions would also fetch a list of programs from the public hub.
            constants: Any = need("huggingface_hub.constants", extra="catalog")
            constants.HF_HUB_DISABLE_TELEMETRY = True
            self._opened = hub.HfApi(
                endpoint=self.endpoint, token=self.token, library_name="promptflow", library_version=__version__
            )
        return self._opened

    def _read(self, id: str, revision: str, file: str, headers: Mapping[str, str], limit: int, start: int) -> bytes:
        sent = {**self.headers(), **headers}
        utils = need("huggingface_hub.utils", extra="catalog")
        with (
            self._errors(f"{file} of {id}", revision),
            utils.get_session().stream(
                "GET",
                self.file_url(id, revision, file),
                headers=sent,
                follow_redirects=True,
                timeout=30,
            ) as response,
        ):
            if response.status_code == 416:
                raise EmptyFileError(f"{file} of {id} ends before byte {start}.")
            if response.is_error:
                response.read()
            utils.hf_raise_for_status(response)
            if start and response.status_code != 206:
                raise HubError(f"{self.endpoint} does not serve parts of files.", hint="pull the model as a whole")
            # A server that ignores the range, or lies of the length, does not get to send more than was asked for.
            data = bytearray()
            for piece in response.iter_raw():
                data += piece
                if len(data) >= limit:
                    break
        self.traffic += len(data)
        return bytes(data[:limit])

    @contextlib.contextmanager
    def _errors(self, what: str, revision: str | None = None) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise error_from_hub(error, what, revision, self.endpoint) from error
        except Exception as error:
            # The clients' own errors of connections are neither, and are httpx's or httpx2's by version.
            if not type(error).__module__.startswith(("httpx", "huggingface_hub")):
                raise
            raise error_from_hub(error, what, revision, self.endpoint) from error
