"""A real PostgreSQL server for tests: in a temporary folder, on a free port, with the machine's own binaries."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

PASSWORD = "Pa55 w@rd/?"
PASSWORD_IN_URL = "Pa55%20w%40rd%2F%3F"


def find_binaries() -> Path | None:
    """The folder of initdb and pg_ctl, or None."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    if found:
        candidates.insert(0, Path(found).resolve().parent)
    return next(
        (folder for folder in candidates if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None
    )


class Server:
    """One server; databases are made on it as tests ask for them."""

    def __init__(self, binaries: Path) -> None:
        self.binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="pf-postgresql-", dir=_memory()))
        self.user = _unprivileged_user()
        self.port = _free_port()
        self.databases = 0
        (self.folder / "password").write_text(PASSWORD)
        if self.user:
            shutil.chown(self.folder, self.user)
            shutil.chown(self.folder / "password", self.user)
        self._run(
            "initdb", "--username=pf", "--auth=scram-sha-256", f"--pwfile={self.folder / 'password'}",
            "--encoding=UTF8", "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off -c max_connections=200"
        # To a log file, never into a pipe: the server would hold the pipe open, and reading it never ends.
        self._run("pg_ctl", "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stop at once, as in a crash: connections break."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://pf:{PASSWORD_IN_URL}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def new_database(self) -> str:
        """The url of an empty database."""
        self.databases += 1
        name = f"test_{self.databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database: each is a thousand files, and hundreds of them take minutes to remove in the end."""
        self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), "-D", str(self.folder / "data"), *arguments]
        with (self.folder / f"{program}.out").open("ab") as out:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, user=self.user, group=self.user and _group(self.user),
                extra_groups=[] if self.user else None, check=False,
            )  # fmt: skip
        if done.returncode:
            text = "".join(
                file.read_text() for file in (self.folder / f"{program}.out", self.folder / "log") if file.exists()
            )
            raise RuntimeError(f"{program} failed with {done.returncode}:\n{text[-2000:]}")


def _memory() -> str | None:
    """A folder in memory that has room: databases come and go by the hundred, each a thousand files."""
    memory = Path("/dev/shm")
    return str(memory) if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30 else None


def _unprivileged_user() -> str | None:
    """Whom to run the server as, where we are root, whom it refuses."""
    if os.getuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def _group(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
