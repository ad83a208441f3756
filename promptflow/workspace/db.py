"""The workspace's database: transactions on SQLite (WAL) or PostgreSQL, by SQLAlchemy Core.

SQLAlchemy is imported when the database is first used, Alembic only when its tables are older than this program.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.exceptions import WorkspaceError, WorkspaceVersionError
from promptflow.workspace.atomic import make_folder
from promptflow.workspace.dberrors import mask_password, workspace_error
from promptflow.workspace.locks import file_lock
from promptflow.workspace.migrations import HEAD, VERSION_TABLE
from promptflow.workspace.optional import need

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_BUSY_SECONDS = 60


class Database:
    """Transactions on one database url. Safe to use from several threads, and after a fork."""

    def __init__(self, url: str) -> None:
        self.url = _with_driver(url)
        self._engine: Engine | None = None
        self._pid = 0
        self._ready = threading.Lock()
        self._mine = threading.local()

    def __repr__(self) -> str:
        return f"Database({mask_password(self.url)!r})"

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    @property
    def sqlite_file(self) -> Path | None:
        """The file of a SQLite database."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:///") else None

    @property
    def in_write(self) -> bool:
        """Whether this thread is inside :meth:`write`."""
        return self._open_write() is not None

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database. Inside :meth:`write`: that transaction's own."""
        open_write = self._open_write()
        if open_write is not None:
            yield open_write
            return
        with self._errors(), self._connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self, *, lock: str = "") -> Iterator[Connection]:
        """A transaction: committed when the block ends, undone when it raises; inside another write a part of that one,
        undone alone when it alone fails. SQLite has one writer at a time, and others wait. PostgreSQL has many: who
        reads, decides and writes names a ``lock``, which one transaction holds at a time.
        """
        open_write = self._open_write()
        if open_write is not None:
            with self._errors(), self._savepoint(open_write):
                self._lock(open_write, lock)
                yield open_write
            return
        with self._errors(), self._connect() as connection:
            connection = connection.execution_options(pf_begin="BEGIN IMMEDIATE")
            with connection.begin():
                self._lock(connection, lock)
                self._mine.write = (os.getpid(), connection)
                try:
                    yield connection
                finally:
                    self._mine.write = None

    def close(self) -> None:
        """Let go of all connections; the next use opens new ones."""
        with self._ready:
            if self._engine is not None and self._pid == os.getpid():
                self._engine.dispose()
            self._engine = None

    @contextlib.contextmanager
    def _savepoint(self, connection: Connection) -> Iterator[None]:
        from sqlalchemy import exc

        savepoint = connection.begin_nested()
        try:
            yield
        except BaseException:
            try:
                savepoint.rollback()
            except exc.DBAPIError:
                # A full disk, or a lost server, has undone all of it: that is the error to tell. What the outer
                # transaction still does must fail; on this connection it would be committed at once.
                connection.invalidate()
            raise
        savepoint.commit()

    def _lock(self, connection: Connection, name: str) -> None:
        if name and not self.is_sqlite:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (zlib.crc32(name.encode()),))

    def _open_write(self) -> Connection | None:
        pid, connection = getattr(self._mine, "write", None) or (0, None)
        return connection if pid == os.getpid() else None

    def _connect(self) -> Connection:
        if self._engine is None or self._pid != os.getpid():
            self._open()
        assert self._engine is not None
        return self._engine.connect()

    def _open(self) -> None:
        with self._ready:
            if self._pid != os.getpid() and self._engine is not None:
                # Connections that a parent process opened are the parent's: forgotten, not closed.
                self._engine.dispose(close=False)
                self._engine = None
            if self._engine is None:
                engine = self._make_engine()
                try:
                    self._check_schema(engine)
                except BaseException:
                    engine.dispose()
                    raise
                weakref.finalize(self, _dispose, engine, os.getpid())
                self._engine, self._pid = engine, os.getpid()

    def _make_engine(self) -> Engine:
        from sqlalchemy import create_engine, event, exc, make_url

        try:
            if not self.is_sqlite:
                if make_url(self.url).get_backend_name() == "postgresql":
                    need("psycopg", extra="postgres")
                return create_engine(
                    self.url, pool_pre_ping=True, hide_parameters=True, connect_args={"connect_timeout": 10}
                )
            # Without isolation_level, sqlite3 leaves BEGIN to us: reads see one state, and writes take the lock first.
            connect = {"timeout": _BUSY_SECONDS, "check_same_thread": False, "isolation_level": None}
            engine = create_engine(self.url, hide_parameters=True, max_overflow=-1, connect_args=connect)
        except (exc.ArgumentError, exc.NoSuchModuleError, ValueError, ModuleNotFoundError) as error:
            raise WorkspaceError(
                f"The database url {mask_password(self.url)!r} is not valid: use sqlite:///… or postgresql://….",
                hint="look at PF_DATABASE_URL",
            ) from error
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _check_schema(self, engine: Engine) -> None:
        if self._is_current(engine):
            return
        with self._upgrade_lock(engine):
            if not self._is_current(engine):
                self._upgrade(engine)

    def _is_current(self, engine: Engine) -> bool:
        version = self._version(engine)
        if version is not None and (not version.isdigit() or int(version) > int(HEAD)):
            raise WorkspaceVersionError(
                f"The workspace database {mask_password(self.url)} is of version {version}, "
                f"and this promptflow knows versions up to {HEAD}.",
                hint="pip install --upgrade promptflow",
            )
        return version == HEAD

    def _version(self, engine: Engine) -> str | None:
        from sqlalchemy import exc

        if self.is_sqlite and not _sqlite_path(engine).exists():
            return None
        try:
            with engine.connect() as connection:
                version = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
                return None if version is None else str(version)
        except exc.DBAPIError as error:
            if _is_missing_table(error):
                return None
            raise

    def _upgrade(self, engine: Engine) -> None:
        from sqlalchemy import exc

        from promptflow.workspace.migrations.upgrade import build, upgrade

        empty = self._version(engine) is None
        with engine.connect() as connection:
            with connection.execution_options(pf_begin="BEGIN IMMEDIATE").begin():
                try:
                    (build if empty else upgrade)(connection)
                except (exc.OperationalError, exc.ProgrammingError) as error:
                    if "already exists" not in str(error.orig):
                        raise
                    raise WorkspaceError(
                        f"The database {mask_password(self.url)} holds tables of another program.",
                        hint="give the workspace a database of its own, or a schema: ?options=-csearch_path=NAME",
                    ) from error

    @contextlib.contextmanager
    def _upgrade_lock(self, engine: Engine) -> Iterator[None]:
        if self.is_sqlite:
            path = _sqlite_path(engine)
            make_folder(path.parent)
            with file_lock(path.with_name(f"{path.name}.lock")):
                with engine.connect().execution_options(pf_begin="") as connection:
                    # Kept in the file. Switching fails at once when others have it open: hence under the lock.
                    connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                yield
            return
        with engine.connect() as connection, connection.begin():
            self._lock(connection, "promptflow.workspace.upgrade")
            yield

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        from sqlalchemy import exc

        try:
            yield
        except (exc.DBAPIError, exc.TimeoutError) as error:
            translated = workspace_error(error, self.url)
            if translated is None:
                raise
            raise translated from error
        except exc.PendingRollbackError as error:
            raise WorkspaceError("The transaction was undone by an earlier error.") from error


def sqlite_url(path: Path) -> str:
    """The url of a SQLite file."""
    return f"sqlite:///{path}"


def _with_driver(url: str) -> str:
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return f"postgresql+psycopg://{url.removeprefix(prefix)}"
    return url


def _sqlite_path(engine: Engine) -> Path:
    return Path(engine.url.database or "")


def _dispose(engine: Engine, pid: int) -> None:
    engine.dispose(close=pid == os.getpid())


def _set_up_sqlite(connection: Any, record: Any) -> None:
    # With WAL, NORMAL loses no consistency: a power cut can only undo the last commits.
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin_sqlite(connection: Connection) -> None:
    begin = connection.get_execution_options().get("pf_begin", "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)


def _is_missing_table(error: Any) -> bool:
    # SQLite has no code of its own for it; PostgreSQL's is 42P01.
    return getattr(error.orig, "sqlstate", None) == "42P01" or "no such table" in str(error.orig)
