"""Citation: one claim or figure of somebody else's: source, protocol, tolerance fixed beforehand.

Each has one of four kinds. Stated: read in the paper's abstract, introduction or project page.
Recalled: two memories of the paper that agree, not read again, so never shown as published. Zoo:
printed in the `metafile.yml` files of MMAction2's model zoo. Peer: printed in a peer's repository,
on the same task. The data are in `published.py`, `zoo.py` and `peers.py`;
`verdicts.py` holds them against what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stated", "recalled", "zoo", "peer"]

PAPER = "arXiv 2102.07887"

MARGIN = 0.02
"""Top-1 accuracy lost that still counts as no loss: 2 points."""

SAVING = (0.20, 0.40)
"""Saved share of the dense multiply-adds that the paper states."""

WINDOW = 0.05
"""A budget is met down to this far below it, so that 0.6 may save 45 %."""

SPREAD = 0.01
"""Share of the dense multiply-adds between cheap clips (5th percentile) and dear ones (95th)."""


@dataclass(frozen=True)
class Count:
    """Checked by counting: a config at a size gives the printed figure.

    Args:
        config: MMAction2 config file, relative to the folder of configs in its wheel.
        measure: What is printed.
        printed: The figure as it is printed, in `unit`.
        size: Side of the square in pixels, instead of the config's test clip.
        frames: Frames, instead of the config's test clip.
    """

    config: str
    measure: Literal["gmacs", "params"]
    printed: str
    size: int | None = None
    frames: int | None = None

    @property
    def unit(self) -> str:
        """What the figure counts."""
        return "GMACs" if self.measure == "gmacs" else "M parameters"

    @property
    def tolerance(self) -> float:
        """Half of the last printed digit."""
        return 0.5 * 10.0 ** -len(self.printed.partition(".")[2])


@dataclass(frozen=True)
class OnSweep:
    """Checked on the records of a sweep, cell by cell, by a rule of `verdicts.py`."""

    rule: Literal["saving-without-loss", "depends-on-the-clip", "still-saves-frames"]


@dataclass(frozen=True)
class NotHere:
    """Cannot be checked here."""

    why: str


@dataclass(frozen=True)
class Published:
    """One claim or figure of somebody else's.

    Args:
        id: Names it on the command line.
        text: The claim in words, with its figures as they are printed.
        source: Paper or address that it is read in.
        kind: See the module.
        protocol: What the figures are of.
        tolerance: How far off still counts, fixed before anything was measured.
        check: How it is checked.
        note: What is known about the figure itself.
    """

    id: str
    text: str
    source: str
    kind: Kind
    protocol: str
    tolerance: str
    check: Count | OnSweep | NotHere
    note: str = ""
