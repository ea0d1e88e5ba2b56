"""Read lists of clips in MMAction2's form and report every fault at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MOST_SHOWN = 20
"""Faults named one by one; of the rest only the number is told."""

MOST_CLASSES = 10_000
"""A label beyond is a slip, such as a file's number: the classifier would not fit in memory."""


@dataclass(frozen=True)
class Clip:
    """One line of a list.

    Args:
        name: Path as it stands in the list.
        label: Index of the class.
        path: The video to decode.
        backwards: Played from its last frame to its first.
        line: Where it stands, "list.txt:12".
    """

    name: str
    label: int
    path: Path
    backwards: bool
    line: str = field(compare=False)


@dataclass(frozen=True)
class Listing:
    """Both splits as listed, and the classes by label."""

    train: tuple[Clip, ...]
    val: tuple[Clip, ...]
    class_names: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the videos of both splits, each once, in sorted order."""
        return tuple(sorted({clip.path for clip in (*self.train, *self.val)}))


@dataclass(frozen=True)
class ListReader:
    """Reads lists of one data set.

    Args:
        root: Folder to which lists and clips are relative.
        reverse_suffix: A clip whose name ends so (before the extension) is not read: its forward
            original, the same name without it, is played backwards. None reads all as they are.
    """

    root: Path
    reverse_suffix: str | None = None

    def read(self, train: str, val: str, classes: str | None) -> Listing:
        """Return what the lists say.

        Raises:
            ValueError: All faults found, in one message.
        """
        faults: list[str] = []
        names = self._classes(classes, faults) if classes else None
        train_clips, train_is_whole = self._clips(train, faults)
        val_clips, _ = self._clips(val, faults)
        everything = [*train_clips, *val_clips]
        faults += _label_faults(everything, names)
        if train_is_whole:  # else the other class may stand in a line that could not be read
            faults += _one_class(train, train_clips)
        faults += _repeated(train_clips, val_clips)
        raise_faults(self.root, faults)
        count = len(names) if names else 1 + max(clip.label for clip in everything)
        return Listing(
            tuple(train_clips),
            tuple(val_clips),
            names or tuple(str(label) for label in range(count)),
        )

    def _classes(self, file: str, faults: list[str]) -> tuple[str, ...] | None:
        names = [text for _, text in self._lines(file, faults)]
        if names and len(names) < 2:
            faults.append(f"{file}: one class only ({names[0]}); classifying needs two")
        return tuple(names) or None

    def _clips(self, file: str, faults: list[str]) -> tuple[list[Clip], bool]:
        """Return the clips of a list, and whether every line gave one."""
        clips = []
        lines = self._lines(file, faults)
        for number, text in lines:
            try:
                clips.append(self._clip(text, f"{file}:{number}"))
            except ValueError as error:
                faults.append(f"{file}:{number}: {error}")
        return clips, len(clips) == len(lines)

    def _lines(self, file: str, faults: list[str]) -> list[tuple[int, str]]:
        """Return the lines that are not blank, with their numbers from 1."""
        try:
            text = (self.root / file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{file}: {_why(error)}")
            return []
        lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        if not lines:
            faults.append(f"{file}: the list is empty")
        return lines

    def _clip(self, text: str, line: str) -> Clip:
        name, _, label = text.rpartition(" ")
        if not name.strip():
            raise ValueError(f"a line must be `path label`, but got {text!r}")
        name = name.strip()
        path, backwards = self._video(name)
        role = f"the forward original of {name}" if backwards else "the clip"
        if not _is_file(path):
            raise ValueError(f"{role} is missing: {path}")
        return Clip(name, _label(label), path, backwards, line)

    def _video(self, name: str) -> tuple[Path, bool]:
        path = self.root / name
        if not self.reverse_suffix or not path.stem.endswith(self.reverse_suffix):
            return path, False
        return path.with_name(path.stem.removesuffix(self.reverse_suffix) + path.suffix), True


def raise_faults(root: Path, faults: list[str]) -> None:
    """Raise one error naming the first faults and the number of the others; none, no error.

    Raises:
        ValueError: There are faults.
    """
    if not faults:
        return
    raise ValueError(f"{len(faults)} fault(s) in the data set at {root}:\n{shortened(faults)}")


def shortened(lines: Sequence[str]) -> str:
    """Return the first lines, indented, and the number of the others."""
    shown = "\n".join(f"  {line}" for line in lines[:MOST_SHOWN])
    rest = f"\n  and {len(lines) - MOST_SHOWN} more" if len(lines) > MOST_SHOWN else ""
    return shown + rest


def _why(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text (byte {error.start})"
    return f"cannot be read ({error.strerror})"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file's
        return False


def _label(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"the label must be an integer, but got {text!r}") from None


def _label_faults(clips: list[Clip], names: tuple[str, ...] | None) -> Iterable[str]:
    last = (len(names) if names else MOST_CLASSES) - 1
    for clip in clips:
        if not 0 <= clip.label <= last:
            yield f"{clip.line}: the label must be in 0..{last}, but got {clip.label}"


def _one_class(file: str, clips: list[Clip]) -> Iterable[str]:
    labels = {clip.label for clip in clips}
    if len(labels) == 1:
        yield f"{file}: one class only (label {labels.pop()}); training needs two"


def _repeated(train: list[Clip], val: list[Clip]) -> Iterable[str]:
    """Yield clips that are in both splits, and clips under two labels."""
    trained = {clip.path: clip for clip in train}
    for clip in val:
        if clip.path in trained:
            yield f"{clip.line}: {clip.name} is also in training ({trained[clip.path].line})"
    first: dict[tuple[Path, bool], Clip] = {}
    for clip in (*train, *val):
        other = first.setdefault((clip.path, clip.backwards), clip)
        if other.label != clip.label:
            yield f"{clip.line}: {clip.name} has another label in {other.line}"
