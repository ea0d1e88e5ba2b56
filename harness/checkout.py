"""The code as it lies here: its revision, its files, and what is modified."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from results.record import Record

SOURCE, TOOLS, CHANGES = "code/source.tar", "code/tools.tar", "code/changes.diff"

CHECKOUT = Path(__file__).parent.parent
"""Where this code lies."""


@dataclass(frozen=True)
class Code:
    """What there is of the code.

    Args:
        recorded: By revision that records name how many do; "+" where it was modified.
        here: This checkout's revision, likewise; empty outside of one.
        packed: The revision whose files are packed; empty where there are none.
        files: Content by path in a bundle.
    """

    recorded: dict[str, int]
    here: str
    packed: str
    files: dict[str, bytes] = field(repr=False)

    @property
    def is_exact(self) -> bool:
        """Whether all records come from the files that are packed."""
        return bool(self.packed) and set(self.recorded) == {self.packed}

    @property
    def unpacking(self) -> str:
        """How the files are made a checkout again; empty where there are none."""
        if not self.packed:
            return ""
        parts = ["`mkdir source && tar -xf code/source.tar -C source`."]
        if TOOLS in self.files:
            parts.append(f"`{TOOLS}` is {self.here}, which packed this and has all commands below.")
        if CHANGES in self.files:
            parts.append(
                f"It was modified: `{CHANGES}`; files that git does not know are left out."
            )
        return " ".join(parts)

    @property
    def sentence(self) -> str:
        """What is packed, and whether the records come from it."""
        if not self.packed:
            return "no checkout was at hand, so no source is packed"
        if self.is_exact:
            return f"source.tar is revision {self.packed}, which all records name"
        named = ", ".join(name or "none" for name in self.recorded)
        return f"source.tar is revision {self.packed}; records name: {named}"


def code_of(records: Sequence[Record], root: Path = CHECKOUT) -> Code:
    """Return the files of the one revision that records name, else of this checkout's."""
    recorded = dict(Counter(record.code_revision for record in records).most_common())
    here = code_revision(root)
    packed, source = _source(root, _wanted(recorded, here)) if here else ("", b"")
    files = {SOURCE: source} if packed else {}
    head, tools = _source(root, [here.removesuffix("+")]) if here else ("", b"")
    if head != packed:
        files[TOOLS] = tools
    if here.endswith("+"):
        files[CHANGES] = _git(root, "diff", "HEAD") or b""
    about = {"recorded": recorded, "here": here, "packed": packed}
    files["code/revision.json"] = (json.dumps(about, indent=2) + "\n").encode()
    return Code(recorded, here, packed, files)


def _wanted(recorded: dict[str, int], here: str) -> list[str]:
    named = [name.removesuffix("+") for name in recorded]
    sole = [name for name in named if len(recorded) == 1 and re.fullmatch("[0-9a-f]{40}", name)]
    return [*sole, here.removesuffix("+")]


def _source(root: Path, revisions: Sequence[str]) -> tuple[str, bytes]:
    for revision in revisions:
        source = _git(root, "archive", "--format=tar", revision)
        if source:
            return revision, source
    return "", b""


def _git(root: Path, *words: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def code_revision(root: Path = CHECKOUT) -> str:
    """Return the commit of a checkout, "+" added where it is modified; "" outside one."""
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no"],
        capture_output=True,
        text=True,
        check=False,
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
