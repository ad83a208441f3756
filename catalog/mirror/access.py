"""Who may do what: read and write tokens, and the requests that browsers are tricked into."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from catalog.mirror.errors import MirrorError
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace

READ, WRITE = "read", "write"
SIGNED = "/api/lfs/"  # carries its own signature: clients send no token there
_PREFIX = "mirror-token:"
_KNOWN_SECONDS = 5.0  # a token that is withdrawn works no longer than this


@dataclass(frozen=True)
class Token:
    """Who has it and what it opens; of the token itself only the SHA-256 is kept."""

    name: str
    role: str
    digest: str


class Tokens:
    """The tokens of a workspace's mirror."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def create(self, name: str, role: str = READ) -> str:
        """A new token, in place of the one of that name. It cannot be shown again."""
        if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ValidationException(f"{name!r} is no name of a token.", hint="letters, digits, . _ and -")
        text = f"hf_{secrets.token_urlsafe(30)}"  # as those of the hub, which tools know to hide
        token = Token(name, role, _digest(text))
        self.workspace.secrets.set(_PREFIX + name, json.dumps(asdict(token)))
        return text

    def list(self) -> Sequence[Token]:
        names = [name for name in self.workspace.secrets.names() if name.startswith(_PREFIX)]
        found = [self.workspace.secrets.get(name) for name in names]
        return [Token(**json.loads(text)) for text in found if text]

    def delete(self, name: str) -> bool:
        return self.workspace.secrets.delete(_PREFIX + name)


class Gate:
    """Lets in who may come in, and leaves who it is in the scope's state as ``token`` (None: anybody).

    Without tokens anybody who reaches the port may read. Then a web page must not reach it under a name of its own
    (DNS rebinding): only requests to this machine's address or to ``hosts`` are answered.
    """

    def __init__(self, app: ASGIApp, tokens: Callable[[], Sequence[Token]], hosts: Sequence[str] = ()) -> None:
        self.app, self.tokens, self.hosts = app, tokens, {host.lower() for host in hosts}
        self._known: tuple[float, Sequence[Token]] = (-_KNOWN_SECONDS, ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        token = find_token(headers.get(b"authorization", b""), known := self._tokens())
        scope.setdefault("state", {})["token"] = token
        scope["path"] = decoded_path(scope)
        if not known and not self._is_ours(headers.get(b"host", b"").decode("latin-1")):
            return await refusal(403, "This mirror answers to its own address only.")(scope, receive, send)
        if known and token is None and scope["path"] != "/health" and not scope["path"].startswith(SIGNED):
            return await refusal(401, "This mirror needs a token: set HF_TOKEN to one of its own.")(
                scope, receive, send
            )
        await self.app(scope, receive, send)

    def _tokens(self) -> Sequence[Token]:
        now = time.monotonic()
        if now - self._known[0] >= _KNOWN_SECONDS:
            self._known = now, self.tokens()
        return self._known[1]

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        name = name.strip("[]").lower()
        return name == "localhost" or name in self.hosts or _is_address(name)


def find_token(authorization: bytes, known: Sequence[Token]) -> Token | None:
    """Whose token it is. All are compared, in constant time."""
    if authorization[:7].lower() != b"bearer ":
        return None
    digest = _digest(authorization[7:].strip().decode("latin-1"))
    matching = [token for token in known if hmac.compare_digest(token.digest, digest)]
    return matching[0] if matching else None


def writer(request: Request) -> Token:
    """Whose write token a request came with; MirrorError (403) without one."""
    token: Token | None = request.scope["state"]["token"]
    if token is None or token.role != WRITE:
        raise MirrorError(403, "Uploads need a write token of this mirror: pf catalog mirror-token NAME --write")
    return token


def decoded_path(scope: Scope) -> str:
    """The path with an escaped slash left as it is: ``refs%2Fpr%2F1`` is one revision."""
    raw = scope.get("raw_path")
    if not raw:
        return str(scope["path"])
    return "%2F".join(unquote(part) for part in raw.decode("latin-1").replace("%2f", "%2F").split("%2F"))


def refusal(status: int, message: str, code: str = "") -> JSONResponse:
    """An error as the hub's clients read it."""
    safe = "".join(letter if " " <= letter <= "~" else "?" for letter in message)
    headers = {"X-Error-Message": safe} | ({"X-Error-Code": code} if code else {})
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": message}, status, headers)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_address(name: str) -> bool:
    # A page of another site can point its name here, but it cannot make the browser send a number as the host.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
