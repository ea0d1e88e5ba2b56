"""Store: records on disk, each written whole or not at all.

Layout under the root, usually `runs/`:

    trials/<key>/trial.json     what the trial is
    trials/<key>/record.json    what came out, once it ended
    trials/<key>/clips.json     clip by clip what came out; older trials have none
    <sweep>/sweep.json          which trials a sweep has, and how it labels them
    <sweep>/records.jsonl       a copy of the sweep's records in one file

Trials are shared by all sweeps. The files under `trials/` are the truth; the rest can be rebuilt.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from .clips import Clips
from .files import DamagedFileError, StoreError, parse, write_atomic
from .record import Record

__all__ = [
    "DamagedFileError",
    "Labels",
    "Reading",
    "Store",
    "StoreError",
    "Sweep",
    "TrialFolder",
    "write_atomic",
]

TRIALS = "trials"
_PLAIN_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z _.+-]*")


def _check_name(kind: str, name: str) -> str:
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(
            f"A {kind} must be letters, digits, spaces and `_ . + -`, and begin with a letter or "
            f"digit, since it names a folder, but got {name!r}."
        )
    return name


_OfTrial = TypeVar("_OfTrial", Record, Clips)


class Labels(BaseModel):
    """How one sweep shows a trial. Not part of the trial's identity, so each sweep has its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    recognizer: str
    method: str
    seed: int | None = None
    """Where data sets are pooled: the number that takes the seed's place. None: the seed."""


class Sweep(BaseModel):
    """The trials of one sweep, in the order planned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    keys: tuple[str, ...]
    labels: dict[str, Labels] = {}
    """By key. A trial that is not named keeps the labels that its record was written with."""


@dataclass(frozen=True)
class TrialFolder:
    """One trial's folder. Attempts, logs and checkpoints lie in it too, written by the worker."""

    path: Path

    @property
    def trial_path(self) -> Path:
        """Where the resolved trial is written."""
        return self.path / "trial.json"

    @property
    def record_path(self) -> Path:
        """Where the outcome is written, once there is one."""
        return self.path / "record.json"

    @property
    def clips_path(self) -> Path:
        """Where the outcome of each clip is written, before the record."""
        return self.path / "clips.json"

    @property
    def checkpoint_path(self) -> Path:
        """Where the state of a trial that has not ended is saved."""
        return self.path / "checkpoint.pth"

    @property
    def latency_path(self) -> Path:
        """Where the times of layers are kept that a trial was trained by, if it was."""
        return self.path / "latency.json"

    @property
    def weights_path(self) -> Path:
        """Where the weights of a trial that ended well are kept, if they are."""
        return self.path / "weights.pth"


@dataclass(frozen=True)
class Reading:
    """What a look at many trials found. Nothing is dropped: each key is in exactly one field."""

    records: tuple[Record, ...]
    missing: tuple[str, ...]
    damaged: dict[str, str]
    """By key: what is wrong, naming the file."""


@dataclass(frozen=True)
class Store:
    """Trials, records and sweeps under one root folder, which is made when first written."""

    root: Path

    def check_writable(self) -> None:
        """Make the root and try it, so that a sweep fails before it starts and not after.

        Raises:
            StoreError: the root cannot be written.
        """
        probe = f".probe.{uuid.uuid4().hex}"
        self._write(self.root / probe, "")
        (self.root / probe).unlink(missing_ok=True)

    def trial_folder(self, key: str) -> TrialFolder:
        """The folder of the trial `key`, which may not exist yet."""
        # in one step: joining part by part would cost a sweep of ten thousand trials seconds
        return TrialFolder(Path(f"{self.root}/{TRIALS}/{_check_name('trial key', key)}"))

    def sweep_folder(self, name: str) -> Path:
        """The folder of the sweep `name`, which may not exist yet."""
        if name == TRIALS:
            raise ValueError(f"A sweep must not be named {TRIALS!r}: that folder holds the trials.")
        return self.root / _check_name("sweep name", name)

    def write_trial(self, key: str, trial: Mapping[str, Any]) -> TrialFolder:
        """Write the resolved trial, as plain data, into its folder."""
        folder = self.trial_folder(key)
        self._write(folder.trial_path, json.dumps(trial, indent=2, ensure_ascii=False) + "\n")
        return folder

    def write_record(self, record: Record) -> Path:
        """Write a trial's outcome, in place of any earlier one; returns the file."""
        path = self.trial_folder(record.key).record_path
        self._write(path, record.model_dump_json(indent=2) + "\n")
        return path

    def read_record(self, key: str) -> Record | None:
        """The outcome of the trial `key`; `None` while it has none.

        Raises:
            DamagedFileError: there is a record.json, but it is not that trial's record.
        """
        return self._read_of(key, Record, self.trial_folder(key).record_path)

    def write_clips(self, clips: Clips) -> Path:
        """Write what a trial did with each clip; returns the file."""
        path = self.trial_folder(clips.key).clips_path
        self._write(path, clips.model_dump_json(exclude_none=True) + "\n")
        return path

    def read_clips(self, key: str) -> Clips | None:
        """What the trial `key` did with each clip; `None` where that was not written.

        Raises:
            DamagedFileError: there is a clips.json, but it is not that trial's.
        """
        return self._read_of(key, Clips, self.trial_folder(key).clips_path)

    def read_records(self, keys: Iterable[str]) -> Reading:
        """The outcomes of many trials, in the order of `keys`; damaged files are listed."""
        records, missing, damaged = [], [], {}
        for key in keys:
            try:
                record = self.read_record(key)
            except DamagedFileError as error:
                damaged[key] = str(error)
                continue
            if record is None:
                missing.append(key)
            else:
                records.append(record)
        return Reading(tuple(records), tuple(missing), damaged)

    def records(self, keys: Iterable[str]) -> list[Record]:
        """The outcomes there are of `keys`, in their order.

        Raises:
            DamagedFileError: any of them is damaged; the message names every such file.
        """
        reading = self.read_records(keys)
        if reading.damaged:
            raise DamagedFileError("\n".join(reading.damaged.values()))
        return list(reading.records)

    def write_sweep(self, sweep: Sweep) -> Path:
        """Write which trials a sweep has; returns the file."""
        path = self.sweep_folder(sweep.name) / "sweep.json"
        self._write(path, sweep.model_dump_json(indent=2) + "\n")
        return path

    def read_sweep(self, name: str) -> Sweep:
        """The sweep `name` as last written.

        Raises:
            LookupError: there is no such sweep under the root.
            DamagedFileError: its sweep.json cannot be read.
        """
        path = self.sweep_folder(name) / "sweep.json"
        data = self._read(path)
        if data is None:
            raise LookupError(f"There is no sweep {name!r} under `{self.root}`.")
        return parse(Sweep, data, str(path))

    def read_sweep_records(self, sweep: Sweep) -> Reading:
        """The outcomes of a sweep's trials, under the labels that this sweep gives them."""
        reading = self.read_records(sweep.keys)
        records = tuple(_relabelled(record, sweep.labels) for record in reading.records)
        return Reading(records, reading.missing, reading.damaged)

    def write_sweep_records(self, name: str, records: Sequence[Record]) -> Path:
        """Write a copy of a sweep's records into its records.jsonl; returns the file."""
        path = self.sweep_folder(name) / "records.jsonl"
        self._write(path, "".join(record.model_dump_json() + "\n" for record in records))
        return path

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"Cannot read under `{self.root}`: {error}") from error

    def _read_of(self, key: str, kind: type[_OfTrial], path: Path) -> _OfTrial | None:
        data = self._read(path)
        if data is None:
            return None
        found = parse(kind, data, str(path))
        if found.key != key:
            raise DamagedFileError(f"`{path}` must be of trial {key}, but is of {found.key}.")
        return found

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text)
        except OSError as error:
            raise StoreError(f"Cannot write under `{self.root}`: {error}") from error


def _relabelled(record: Record, labels: Mapping[str, Labels]) -> Record:
    own = labels.get(record.key)
    return record if own is None else record.model_copy(update=own.model_dump(exclude_none=True))
