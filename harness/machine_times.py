"""What layers take on this machine: measured once, then remembered beside the trials.

A trial keeps the times that it was trained by in its own folder, so that it stands by them when it
goes on elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from registry.bench.measured import Question, answer_apart
from registry.vared.times import MachineTimes
from results.store import write_atomic

FOLDER = "latency"
"""Below the folder of trials and sweeps."""

Answer = Callable[[Question], MachineTimes]


def times_here(asked: Question, runs: Path, measure: Answer = answer_apart) -> MachineTimes:
    """Return the times of a recognizer's layers on this machine, measured if they never were.

    Processes that ask at once wait for the first: they would disturb one another.

    Args:
        asked: Of what.
        runs: Where trials lie; tables lie beside them.
        measure: What answers.

    Raises:
        ValueError: Measuring failed.
    """
    folder = runs / FOLDER
    file = folder / f"{asked.key}.json"
    with _alone(folder, asked.key):
        known = _recall(file)
        if known is None:
            known = measure(asked)
            with contextlib.suppress(OSError):  # it costs time, not results
                write_atomic(file, known.model_dump_json(indent=2) + "\n")
        return known


def own_times(file: Path, runs: Path, measure: Answer = answer_apart) -> Answer:
    """Return what answers for one trial: as it was answered before, else as this machine is.

    What is answered is kept from then on.

    Args:
        file: In the trial's folder.
        runs: Where trials lie.
        measure: What answers where this machine was never measured.

    Raises, when asked:
        ValueError: The file is damaged, or measuring failed.
        OSError: It cannot be written.
    """

    def answer(asked: Question) -> MachineTimes:
        known = kept(file)
        if known is None:
            known = times_here(asked, runs, measure)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, known.model_dump_json(indent=2) + "\n")
        return known

    return answer


def kept_times(file: Path) -> Answer:
    """Return what answers for a trial that has ended: times of today might place other gates.

    Raises, when asked:
        ValueError: The file is damaged, or gone.
    """

    def answer(asked: Question) -> MachineTimes:
        known = kept(file)
        if known is None:
            raise ValueError(f"{file} is gone: it says which layers of the trial have gates")
        return known

    return answer


def kept(file: Path) -> MachineTimes | None:
    """Return the times that a trial kept, None where there are none.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        return MachineTimes.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise ValueError(f"{file} must hold the times of layers: {reason}") from error


@contextlib.contextmanager
def _alone(folder: Path, key: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where nothing can be locked, two may measure
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(folder / f".{key}.lock"))
        yield


def _recall(file: Path) -> MachineTimes | None:
    try:
        return MachineTimes.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
