"""What calls print, where an executor keeps it: one file for stdout, one for stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

NUM_LINES = 20
_GLANCE_S = 0.5


def tail(log: Path, num_lines: int = NUM_LINES) -> str:
    """Return the last lines written to stderr if there are any, else to stdout.

    Args:
        log: The file for stdout; that for stderr has the suffix .err.
        num_lines: How many.
    """
    for file in (log.with_suffix(".err"), log):
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        if lines:
            return "\n".join(lines[-num_lines:])
    return ""


def follow(log: Path, goes_on: Callable[[], bool]) -> Iterator[str]:
    """Yield what is and what will be written to both files, until it does not go on.

    Args:
        log: The file for stdout; that for stderr has the suffix .err.
        goes_on: Asked after each look.
    """
    places = {log: 0, log.with_suffix(".err"): 0}
    while True:
        last = not goes_on()
        for file, place in places.items():
            text = _from(file, place)
            places[file] += len(text)
            if text:
                yield text.decode("utf-8", errors="replace")
        if last:
            return
        time.sleep(_GLANCE_S)


def _from(file: Path, place: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(place)
            return opened.read()
    except OSError:  # not begun yet
        return b""
