"""Where records come from: a sweep of the runs folder, a folder that holds some, or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from results.files import read_jsonl
from results.record import Record
from results.store import TRIALS, Store

from .problems import UserError, nearest

RECORDS = "records.jsonl"


@dataclass(frozen=True)
class Source:
    """Records, and what they are called.

    Args:
        name: As a person would name them.
        records: At least one.
        num_missing: Trials of the sweep that have no record that can be read.
    """

    name: str
    records: tuple[Record, ...]
    num_missing: int = 0


def read_source(text: str, store: Store) -> Source:
    """Return the records that a person means.

    Args:
        text: The name of a sweep, a folder with a records.jsonl, or such a file.
        store: The runs folder, in which sweeps are looked for first.

    Raises:
        UserError: There is no such thing, or it has no record.
        DamagedFileError: A line of the file is no record.
    """
    source = _of_sweep(text, store) or _of_path(Path(text))
    if source is None:
        known = sweep_names(store)
        hint = f" Sweeps there: {', '.join(known)}." if known else ""
        raise UserError(
            f"{text!r} is neither a sweep under {store.root}, nor a folder with a {RECORDS}, nor "
            f"such a file.{nearest(text, known)}{hint}"
        )
    if not source.records:
        raise UserError(f"{source.name} has no record yet")
    return source


def sweep_names(store: Store) -> list[str]:
    """Return the sweeps that the runs folder has."""
    found = store.root.glob("*/sweep.json") if store.root.is_dir() else ()
    return sorted(path.parent.name for path in found if path.parent.name != TRIALS)


def _of_sweep(text: str, store: Store) -> Source | None:
    try:
        sweep = store.read_sweep(text)
    except (LookupError, ValueError) as error:
        if text in sweep_names(store):
            raise UserError(str(error)) from error
        return None
    reading = store.read_sweep_records(sweep)
    num_missing = len(reading.missing) + len(reading.damaged)
    return Source(f"sweep {text!r}", reading.records, num_missing)


def _of_path(path: Path) -> Source | None:
    file = path / RECORDS if path.is_dir() else path
    try:
        return Source(str(path), tuple(read_jsonl(file)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
