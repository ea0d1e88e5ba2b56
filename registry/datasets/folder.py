"""Your own clips: a folder of videos with lists in MMAction2's form."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ..interfaces import ClipShape, ClipSource, Manifest, Splits
from .listing import Listing, ListReader
from .videos import VideoSettings, describe, open_splits


class FolderSettings(VideoSettings):
    """Where the clips and their lists are.

    Args:
        root: Folder of the data set: absolute, or relative to the data root (where none is set, to
            the current folder). Everything below is relative to it.
        train: List for training: lines of `path label`.
        val: List for validation.
        classes: Class names by label, one a line; None takes the labels themselves.
        reverse_suffix: Clips whose name ends so are played backwards from their forward original,
            in memory: "_rev" plays `a.mp4` backwards where the list says `a_rev.mp4`.
    """

    root: Path = Path()
    train: str = "train.txt"
    val: str = "val.txt"
    classes: str | None = None
    reverse_suffix: str | None = Field(None, min_length=1)


class Folder(ClipSource):
    """Clips of a folder.

    A clip that does not decode to its end (zero bytes, cut off, damaged halfway) is unreadable as a
    whole: nobody can tell how much of the action the readable part shows.
    """

    name = "folder"
    settings_type = FolderSettings

    def manifest(self, settings: FolderSettings, data_root: Path | None) -> Manifest:
        """Describe the clips; the first time, every one of them is decoded.

        Raises:
            ValueError: All faults of the lists, with list and line, in one message.
        """
        return describe(_listing(settings, data_root), settings)

    def splits(
        self, settings: FolderSettings, data_root: Path | None, clip: ClipShape, seed: int
    ) -> Splits:
        """Open both splits.

        Raises:
            ValueError: As for `manifest`, or no training clip is readable.
        """
        return open_splits(_listing(settings, data_root), settings, clip, seed)


def _listing(settings: FolderSettings, data_root: Path | None) -> Listing:
    root = (data_root or Path()) / settings.root
    reader = ListReader(root, settings.reverse_suffix)
    return reader.read(settings.train, settings.val, settings.classes)


FOLDER = Folder()
