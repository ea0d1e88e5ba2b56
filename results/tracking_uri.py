"""Where MLflow's store is, and whether it answers: found out in seconds, said in one sentence.

MLflow itself retries for minutes before it gives up on a server or a database.
"""

from __future__ import annotations

import socket
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from pathlib import Path

TIMEOUT_S = 5.0
_DATABASE_PORTS = {"mysql": 3306, "postgresql": 5432, "mssql": 1433}
_SCHEMES = ("sqlite", "http", "https", "databricks", *_DATABASE_PORTS)


class TrackingError(ValueError):
    """MLflow cannot be reached or will not take the runs. The message names the URI."""


def default_uri(sweep_folder: Path) -> str:
    """The SQLite store that a sweep has of its own: mlflow.db in its folder."""
    from sqlalchemy.engine import URL, make_url

    path = str((sweep_folder / "mlflow.db").resolve())
    plain = f"sqlite:///{path}"
    # Quoted only where it must be: SQLAlchemy 2.1 unquotes the path, 2.0 and MLflow do not.
    if make_url(plain).database == path:
        return plain
    return URL.create("sqlite", database=path).render_as_string()


def artifact_location(uri: str) -> str | None:
    """For SQLite the folder `mlartifacts` beside the database; `None`: the server decides."""
    path = _sqlite_path(uri)
    return None if path is None else (path.parent / "mlartifacts").as_uri()


def check_reachable(uri: str, timeout_s: float = TIMEOUT_S) -> None:
    """Return if a store answers at `uri`.

    Raises:
        TrackingError: it does not within `timeout_s`, or MLflow has no such kind of store.
    """
    scheme = urllib.parse.urlsplit(uri).scheme.partition("+")[0]
    if uri == "databricks":
        return
    if scheme in ("", "file"):
        raise TrackingError(
            f"MLflow no longer keeps runs in plain folders, so `{uri}` will not do. Use a database "
            "such as sqlite:////path/to/mlflow.db, or a server such as http://host:5000."
        )
    if scheme not in _SCHEMES:
        raise TrackingError(
            f"A tracking URI must begin with one of {', '.join(_SCHEMES)}, but got `{uri}`."
        )
    from sqlalchemy.exc import SQLAlchemyError

    try:
        _probe(uri, scheme, timeout_s)
    except (OSError, ValueError, ImportError, sqlite3.Error, SQLAlchemyError) as error:
        raise TrackingError(f"No MLflow store answers at `{redacted(uri)}`: {error}") from error


def redacted(uri: str) -> str:
    """The URI without its password, for messages and logs."""
    parts = urllib.parse.urlsplit(uri)
    if parts.password is None:
        return uri
    return uri.replace(f":{parts.password}@", ":***@", 1)


def _probe(uri: str, scheme: str, timeout_s: float) -> None:
    if scheme == "sqlite":
        _probe_sqlite(uri, timeout_s)
    elif scheme in ("http", "https"):
        _probe_server(uri, timeout_s)
    elif scheme in _DATABASE_PORTS:
        _probe_database(uri, _DATABASE_PORTS[scheme], timeout_s)


def _probe_sqlite(uri: str, timeout_s: float) -> None:
    path = _sqlite_path(uri)
    if path is None:
        raise ValueError("a store in memory would be lost at once")
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=timeout_s)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # finds a full disk, a foreign file, another's lock
        connection.execute("ROLLBACK")


def _probe_database(uri: str, default_port: int, timeout_s: float) -> None:
    from sqlalchemy import create_engine

    parts = urllib.parse.urlsplit(uri)
    address = (parts.hostname or "localhost", parts.port or default_port)
    socket.create_connection(address, timeout=timeout_s).close()
    engine = create_engine(uri)  # now that someone listens: is there a driver, and are we let in?
    engine.connect().close()
    engine.dispose()


def _probe_server(uri: str, timeout_s: float) -> None:
    health = uri.rstrip("/") + "/health"
    try:
        urllib.request.urlopen(health, timeout=timeout_s).close()
    except urllib.error.HTTPError as error:
        # Anything below 500 is an answer: a proxy may ask for a login that MLflow has and we not.
        error.close()
        if error.code >= 500:
            raise


def _sqlite_path(uri: str) -> Path | None:
    from sqlalchemy.engine import make_url

    if not uri.startswith("sqlite"):
        return None
    database = make_url(uri).database
    return Path(database).resolve() if database and database != ":memory:" else None
