"""`harness export`: a sweep as one zip that another lab can rerun."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from results.bundle import write_bundle
from results.record import Record
from results.store import Reading, Store, Sweep
from results.surroundings import environment as recorded_environment

from .checklist import Facts, checklist
from .checkout import Code, code_of
from .environment import environment
from .problems import UserError
from .publish import EXPLAINED, publish
from .resolved import Resolved, resolve
from .show import line, show_damaged


def export(store: Store, name: str, asked: Path | None, out: Path | None, console: Console) -> int:
    """Write the bundle.

    Args:
        store: The runs folder.
        name: The sweep.
        asked: Its budgets.yaml, if that is at hand.
        out: The zip; by default NAME.zip in the sweep's folder.
        console: Where to tell.

    Raises:
        UserError: There is no such sweep, it has no record, or the zip cannot be written.
    """
    sweep, reading = _read(store, name)
    out = out or store.sweep_folder(name) / f"{name}.zip"
    show_damaged(console, reading.damaged)
    try:
        path = write_bundle(out, files_of(store, sweep, reading, asked))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    line(console, f"{len(reading.records)} of {len(sweep.keys)} trials have a record.")
    line(console, f"{path} ({path.stat().st_size / 1e6:.1f} MB); REPRODUCE.md in it says how.")
    return 0


def files_of(
    store: Store, sweep: Sweep, reading: Reading, asked: Path | None = None
) -> dict[str, bytes]:
    """Return what goes into the bundle: content by path."""
    records = reading.records
    code, lock = code_of(records), _lock()
    resolved = resolve(sweep.name, records, sweep.keys)
    num_weights = sum(store.trial_folder(r.key).weights_path.is_file() for r in records)
    facts = Facts(records, len(sweep.keys), code, resolved, len(lock), num_weights)
    texts = {
        "REPRODUCE.md": _instructions(sweep, code, resolved, records),
        "CHECKLIST.md": checklist(facts),
        "data/manifests.json": _json(_manifests(records)),
        "environment/packed.json": _json(environment()),
        "environment/recorded.json": _json([f._asdict() for f in recorded_environment(records)]),
        "environment/requirements.lock": "".join(f"{text}\n" for text in lock),
    }
    if resolved.text:
        texts["resolved.yaml"] = resolved.text
    if asked:
        texts["budgets.yaml"] = asked.read_text(encoding="utf-8")
    plain = {path: text.encode() for path, text in texts.items()}
    return plain | code.files | dict(_run_files(store, sweep, records))


def _read(store: Store, name: str) -> tuple[Sweep, Reading]:
    try:
        sweep = store.read_sweep(name)
    except (LookupError, ValueError) as error:
        raise UserError(str(error)) from error
    reading = store.read_sweep_records(sweep)
    if not reading.records:
        raise UserError(f"sweep {name!r} has no record yet, so there is nothing to export")
    return sweep, reading


def _run_files(
    store: Store, sweep: Sweep, records: Sequence[Record]
) -> Iterator[tuple[str, bytes]]:
    """The sweep's folder drawn anew, and its trials, laid out as a runs folder."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Store(Path(scratch))
        copy.write_sweep(sweep)
        for record in records:
            own = store.read_record(record.key)
            copy.write_record(own or record)
            _copy_beside(store, copy, record.key)
        for key in sweep.keys:
            if (trial := _trial(store, key, records)) is not None:
                copy.write_trial(key, trial)
        _copy_explanations(store, copy, sweep.name)
        publish(copy, sweep.name)
        for path in sorted(Path(scratch).rglob("*")):
            if path.is_file():
                yield f"runs/{path.relative_to(scratch).as_posix()}", path.read_bytes()


def _trial(store: Store, key: str, records: Sequence[Record]) -> Mapping[str, Any] | None:
    path = store.trial_folder(key).trial_path
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    return next((record.trial for record in records if record.key == key), None)


def _copy_beside(store: Store, copy: Store, key: str) -> None:
    """What lies beside a record: each clip's outcome, and the times of layers."""
    for name in ("clips_path", "latency_path"):
        path: Path = getattr(store.trial_folder(key), name)
        if path.is_file():
            getattr(copy.trial_folder(key), name).write_bytes(path.read_bytes())


def _copy_explanations(store: Store, copy: Store, name: str) -> None:
    path = store.sweep_folder(name) / EXPLAINED
    if path.is_file():
        (copy.sweep_folder(name) / EXPLAINED).write_bytes(path.read_bytes())


def _lock() -> list[str]:
    """Installed distributions with their versions, by name; ours is packed as source."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    pairs = sorted(found.items(), key=lambda pair: pair[0].lower())
    return [f"{name}=={version}" for name, version in pairs if name != "vared-harness"]


def _manifests(records: Sequence[Record]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        about = {
            "label": record.dataset,
            "dataset": record.trial.get("dataset"),
            "digest": record.manifest_digest or None,
            "num_validation_clips": record.accuracy.num_clips if record.accuracy else None,
            "unreadable_clips": list(record.unreadable_clips),
        }
        found.setdefault(json.dumps(about, sort_keys=True), about)
    return list(found.values())


def _json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


_INSTRUCTIONS = """\
# Reproduce {name}

{done} of {total} trials have a record. Run all commands in the folder this was unpacked to.

1. Check the files: `sha256sum --check SHA256SUMS`.
2. The code: {code}.{unpack}
3. The environment: Python {python}, then `pip install -r environment/requirements.lock` and
   `pip install --no-deps -e source`. Versions with `+cpu` come from PyTorch's own index.
   `environment/recorded.json` says what the trials ran with; `packed.json` beside it is of the
   machine that packed this.
4. The report, drawn again from the records: `harness report {name} --runs runs`.
5. The data: `data/manifests.json` has the digest of every data set. The same trial on other clips
   has another key.
6. Run it again: `harness sweep {file} --data-root FOLDER --runs again`. {note}
7. Compare: `harness check {name} --runs again --against runs/{name}`. Times differ between
   machines; the same trial on the same processor and versions gives the same accuracy and
   multiply-adds.
8. Hold the paper's claims against it: `harness reproduce {name} --runs again`.

`CHECKLIST.md` says what is and what is not in here.
"""


def _instructions(sweep: Sweep, code: Code, resolved: Resolved, records: Sequence[Record]) -> str:
    return _INSTRUCTIONS.format(
        name=sweep.name,
        done=len(records),
        total=len(sweep.keys),
        code=code.sentence,
        unpack=f" {code.unpacking}" if code.unpacking else "",
        python=environment()["python"],
        file="resolved.yaml" if resolved.text else "budgets.yaml",
        note=resolved.note,
    )
