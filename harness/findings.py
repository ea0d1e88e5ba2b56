"""One thing that doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `fix` is a command or a sentence wherever it is not ok."""

    verdict: Verdict
    subject: str
    detail: str
    fix: str = ""
