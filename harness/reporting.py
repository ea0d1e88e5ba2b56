"""What the commands about reports do, each returning its exit code."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from results.store import Store

from .problems import UserError
from .publish import Published, mirror, mirror_uri, probe, publish
from .show import line, show_damaged, show_files, show_results


def report(store: Store, name: str, console: Console) -> int:
    """Draw everything again from the records of a sweep.

    Raises:
        UserError: There is no such sweep.
    """
    published = _published(store, name)
    show_results(console, published.content)
    show_damaged(console, published.reading.damaged)
    show_files(console, published.files, None)
    return 0


def page(store: Store, name: str, console: Console) -> int:
    """Write a sweep's page alone.

    Raises:
        UserError: There is no such sweep, or it has no record yet.
    """
    published = _page(store, name)
    show_damaged(console, published.reading.damaged)
    show_files(console, published.files[1:], None)
    return 0


def serve(store: Store, name: str, port: int, console: Console) -> int:
    """Serve a sweep's page, and MLflow where there is a mirror, until Ctrl-C.

    Raises:
        UserError: There is no such sweep, it has no record yet, or a port is taken.
    """
    from .serve import TYPES, serve

    _page(store, name)
    folder = store.sweep_folder(name)
    files = {path.name: path for path in folder.iterdir() if path.suffix in TYPES}
    uri = mirror_uri(folder)
    if uri is None:
        line(console, f"There is no MLflow mirror of it yet: `harness sync {name}` makes one.")
    return serve(files, uri, port, console)


def sync(store: Store, name: str, uri: str | None, console: Console) -> int:
    """Send a sweep's records to MLflow again.

    Raises:
        UserError: There is no such sweep.
    """
    probe(uri)
    published = _published(store, name)
    mirror(published, name, uri)
    show_files(console, (), uri)
    return 0


def _page(store: Store, name: str) -> Published:
    published = _published(store, name, ("html",))
    if published.content is None:
        raise UserError(f"sweep {name!r} has no record yet, so there is nothing to show")
    return published


def _published(store: Store, name: str, formats: Sequence[str] | None = None) -> Published:
    try:
        store.read_sweep(name)
    except (LookupError, ValueError) as error:
        raise UserError(str(error)) from error
    return publish(store, name, formats)
