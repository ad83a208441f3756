"""Recording: every call is kept with what it asked and what was answered, without its secrets."""

from __future__ import annotations

import fnmatch
import os
import secrets as random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from promptflow.tape.file import NAME, VERSION, TapeWriter
from promptflow.tape.handover import Handover
from promptflow.tape.place import here
from promptflow.tape.request import Request, is_model_call, is_secret_name, secrets_in_url
from promptflow.tape.scrub import Scrubber, secret_variables


class Call:
    """A request that is under way. ``end`` keeps it, with its answer."""

    def __init__(self, recorder: Recorder, request: Request) -> None:
        self._recorder = recorder
        self._request = request
        self._place = here()
        self._number = next(recorder.numbers)
        self._start = time.perf_counter()
        self._ended = False

    def end(self, answer: Mapping[str, Any]) -> None:
        """``answer``: ``status`` with ``json``, ``events``, ``text`` or ``base64``; or ``failure``. Once only."""
        if self._ended:
            return
        self._ended = True
        seconds = round(time.perf_counter() - self._start, 4)
        place = {"line": self._place.line, "node": self._place.node}
        self._recorder.keep({"n": self._number, **place}, self._request, answer, seconds)


class Recorder:
    """Keeps calls to models, and other HTTP calls to URLs that match ``http`` (``https://api.example.com/*``)."""

    def __init__(self, http: Sequence[str] = (), secrets: Iterable[str] = (), **about: Any) -> None:
        self.numbers = count()
        self.scrubber = Scrubber([*secrets, *secret_variables(os.environ)])
        self._http = tuple(http)
        self._path: Path | None = None
        self._by = random.token_hex(4)
        self._connections: set[str] = set()
        self._writer = TapeWriter()
        made = datetime.now(UTC).isoformat(timespec="seconds")
        self._writer.append({"tape": VERSION, "by": self._by, "made": made, **about})

    def open(self, path: Path) -> None:
        self._writer.open(path)
        self._path = path

    def begin_in(self, folder: Path) -> None:
        self.open(folder / NAME)

    def handover(self) -> Handover | None:
        """None while it has no file."""
        return Handover(str(self._path), False, self._http, tuple(self.scrubber.secrets)) if self._path else None

    def close(self) -> None:
        self._writer.close()

    def wants(self, url: str, headers: Mapping[str, str]) -> bool:
        """Whether a call that some HTTP library makes is kept: one to a model, or to a declared URL."""
        return is_model_call(url, headers) or any(fnmatch.fnmatchcase(url, pattern) for pattern in self._http)

    def begin(self, request: Request, url: str = "", headers: Mapping[str, str] | None = None) -> Call:
        """``url`` and ``headers`` as they are sent: the secrets in them are learned, and not kept."""
        sent = [v.removeprefix("Bearer ") for k, v in (headers or {}).items() if is_secret_name(k)]
        self.scrubber.add([*sent, *secrets_in_url(url)])
        return Call(self, request)

    def connection(self, name: Any, find: Callable[[], Any], make: Callable[[dict[str, Any], str], Any]) -> Any:
        """What ``find`` finds; kept without its secrets, which are taken out of everything from now on."""
        found = find()
        secrets = getattr(found, "secrets", None)
        if not isinstance(secrets, dict):
            return found
        self.scrubber.add([*secrets.values(), *(v for k, v in found.configs.items() if is_secret_name(k))])
        if isinstance(name, str) and name not in self._connections:
            self._connections.add(name)
            about = {"type": found.class_name, "module": found.module, "configs": self.scrubber.value(found.configs)}
            self._writer.append({"connection": name, **about, "secret_keys": list(secrets)})
        return found

    def keep(self, head: Mapping[str, Any], request: Request, answer: Mapping[str, Any], seconds: float) -> None:
        scrub = self.scrubber
        kept = {key: scrub.events(value) if key == "events" else scrub.value(value) for key, value in answer.items()}
        asked = {
            "method": request.method,
            "url": scrub.text(request.url),
            "body": scrub.value(request.body, exact=True),
        }
        self._writer.append({"by": self._by, **head, **asked, "answer": kept, "seconds": seconds})
