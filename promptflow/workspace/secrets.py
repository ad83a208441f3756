"""The key vault: values encrypted at rest with the workspace's key."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.exceptions import SecretError
from promptflow.workspace.atomic import write_whole
from promptflow.workspace.clock import now_text
from promptflow.workspace.locks import file_lock

if TYPE_CHECKING:
    from promptflow.workspace.store import Store

KEY_VARIABLE = "PF_SECRET_KEY"
# Fixed, so that one passphrase opens one team's database from every machine; scrypt makes guessing costly.
_SALT = b"promptflow.workspace.secrets.1"


class Secrets:
    """Encrypts with the key of ``PF_SECRET_KEY``, else of a file that only the user can read. Never shows either."""

    def __init__(self, key_file: Path, rows: Callable[[], Store], environ: Mapping[str, str] = os.environ) -> None:
        self._key_file = key_file
        self._rows = rows
        self._environ = environ

    def encrypt(self, value: str) -> str:
        """The value, readable with the workspace's key only."""
        token: bytes = self._fernet(create=True).encrypt(value.encode("utf-8", "surrogatepass"))
        return token.decode()

    def decrypt(self, token: str) -> str:
        """The value that :meth:`encrypt` was given. SecretError when the key is another one."""
        from cryptography.fernet import InvalidToken

        try:
            value: bytes = self._fernet(create=False).decrypt(token.encode())
        except (InvalidToken, UnicodeEncodeError) as error:
            raise SecretError(
                "A secret of this workspace cannot be read: it was written with another key, or is damaged.",
                hint=f"give it that key by {KEY_VARIABLE} or {self._key_file}, or enter the secret again",
            ) from error
        return value.decode("utf-8", "surrogatepass")

    def get(self, name: str) -> str | None:
        """The secret called ``name``, or None."""
        row = self._rows().get("secrets", name)
        return None if row is None else self.decrypt(row["value"])

    def set(self, name: str, value: str) -> None:
        """Keep a secret, in place of the one of that name."""
        now = now_text()
        self._rows().put("secrets", {"name": name, "value": self.encrypt(value), "created": now, "updated": now})

    def delete(self, name: str) -> bool:
        """Forget a secret; False if there was none."""
        return self._rows().delete("secrets", name)

    def names(self) -> list[str]:
        """The names of all secrets, sorted."""
        return [row["name"] for row in self._rows().list("secrets", columns=["name"])]

    def _fernet(self, *, create: bool) -> Any:
        from cryptography.fernet import Fernet

        given = self._environ.get(KEY_VARIABLE, "").strip()
        return Fernet(derive_key(given) if given else self._file_key(create))

    def _file_key(self, create: bool) -> bytes:
        if create and not self._key_file.exists():
            with file_lock(self._key_file.with_name(f"{self._key_file.name}.lock")):
                if not self._key_file.exists():
                    write_whole(self._key_file, base64.urlsafe_b64encode(os.urandom(32)) + b"\n", mode=0o600)
        try:
            key = self._key_file.read_bytes().strip()
        except OSError as error:
            raise SecretError(
                f"The key of this workspace, {self._key_file}, cannot be read: {error.strerror}.",
                hint=f"restore the file, or set {KEY_VARIABLE}",
            ) from error
        if not _is_key(key):
            raise SecretError(f"{self._key_file} does not hold a key.", hint="restore the file from a backup")
        return key


@functools.lru_cache(maxsize=4)
def derive_key(text: str) -> bytes:
    """A Fernet key as it is; any other text is a passphrase, which a key is derived from."""
    if _is_key(text.encode()):
        return text.encode()
    raw = hashlib.scrypt(text.encode(), salt=_SALT, n=2**14, r=8, p=1)
    return base64.urlsafe_b64encode(raw[:32])


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, altchars=b"-_", validate=True)) == 32
    except (binascii.Error, ValueError):
        return False
