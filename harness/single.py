"""What the commands about single trials do: logs, why, cancel. They need no budgets.yaml."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from jobs.attempts import Attempt, read_attempts
from jobs.logs import follow, tail
from jobs.underway import Look, end, look
from results.record import Record
from results.store import Store, TrialFolder

from .problems import UserError
from .show import line


def logs(store: Store, text: str, follows: bool, console: Console) -> int:
    """Print what a trial printed; with `follows`, until it ends.

    Raises:
        UserError: There is no such trial, or its executor keeps no log.
    """
    folder = find(store, text)
    log = _log(folder)
    if log is None:
        raise UserError(
            f"trial {folder.path.name} has no log yet, or its executor keeps none; "
            f"MMEngine's logs, if any, are under {folder.path / 'attempts'}"
        )
    for part in follow(log, lambda: follows and bool(look([folder.path]))):
        sys.stdout.write(part)
        sys.stdout.flush()
    return 0


def why(store: Store, text: str, console: Console) -> int:
    """Tell what became of a trial, attempt by attempt.

    Raises:
        UserError: There is no such trial.
    """
    folder = find(store, text)
    record = store.read_record(folder.path.name)
    now = look([folder.path]).get(folder.path)
    line(console, f"trial {folder.path.name}: {_state(record, now)}")
    if record and record.failure:
        line(console, f"reason: {record.failure.kind}: {record.failure.message}")
    attempts = read_attempts(folder.path)
    for attempt in attempts:
        may_run = now is not None and now.state == "runs" and attempt is attempts[-1]
        line(console, f"  attempt {attempt.number}: {_story(attempt, may_run)}")
    log = _log(folder)
    last = tail(log) if log else (record.failure.traceback if record and record.failure else "")
    if last:
        line(console, f"last lines{f' of {log}' if log else ''}:")
        line(console, last)
    return 0


def cancel(
    store: Store,
    name: str,
    keys: Sequence[str],
    console: Console,
    ask: Callable[[str], bool] | None,
) -> int:
    """End trials of a sweep that a cluster runs.

    Args:
        store: Where they lie.
        name: The sweep.
        keys: Of the trials, or how they begin; empty for all.
        console: Where to tell.
        ask: Asked before anything is ended, if given.

    Raises:
        UserError: There is no such sweep or trial.
    """
    try:
        of_sweep = store.read_sweep(name).keys
    except (LookupError, ValueError) as error:
        raise UserError(str(error)) from error
    chosen = [match(key, of_sweep, f"trial of {name!r}") for key in keys] or list(of_sweep)
    folders = [store.trial_folder(key).path for key in chosen]
    looks = look(folders)
    on_cluster = [folder for folder in folders if folder in looks and looks[folder].job]
    local = [folder for folder in looks if not looks[folder].job]
    if local:
        line(
            console, f"{len(local)} run in processes of their own: end the sweep that started them"
        )
    if not on_cluster:
        line(console, "Nothing to cancel on a cluster.")
        return 0
    if ask and not ask(f"Cancel {len(on_cluster)} trials?"):
        return 0
    line(console, f"Cancelled {len(end(on_cluster))} trials; `harness resume` goes on with them.")
    return 0


def find(store: Store, text: str) -> TrialFolder:
    """Return the folder of the trial whose key begins so.

    Raises:
        UserError: No key does, or several do.
    """
    root = store.trial_folder("0").path.parent
    keys = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    return store.trial_folder(match(text, keys, f"trial under {root}"))


def match(text: str, keys: Sequence[str], what: str) -> str:
    """Return the one key that begins with a text.

    Raises:
        UserError: None does, or several do.
    """
    found = [key for key in keys if key.startswith(text)]
    if text in keys or len(found) == 1:
        return text if text in keys else found[0]
    if found:
        raise UserError(f"{text!r} begins the keys of {len(found)}: {', '.join(found[:5])}")
    near = difflib.get_close_matches(text, keys, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"{text!r} is the key of no {what}{hint}")


def _log(folder: TrialFolder) -> Path | None:
    now = look([folder.path]).get(folder.path)
    if now and now.log:
        return now.log
    written = [attempt.log for attempt in read_attempts(folder.path) if attempt.log]
    return Path(written[-1]) if written else None


def _state(record: Record | None, now: Look | None) -> str:
    if now:
        job = f", job {now.job}" if now.job else ""
        return f"{now.state} {now.detail}{job}".strip()
    return record.status if record else "not run yet, or lost: the next sweep or resume runs it"


def _story(attempt: Attempt, may_run: bool) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.began_at))
    job = f", job {attempt.job}" if attempt.job else ""
    if attempt.ended_at is None or attempt.ending is None:
        ended = "no end was written down" + (
            ", so it may run still" if may_run else ": it vanished"
        )
    else:
        took = attempt.ended_at - attempt.began_at
        ended = f"{attempt.ending} after {took:.0f} s"
    saved = f"; {attempt.saved} steps saved" if attempt.saved else ""
    reason = f" ({attempt.reason})" if attempt.reason else ""
    return f"{began} on {attempt.host}, pid {attempt.pid}{job}: {ended}{reason}{saved}"
