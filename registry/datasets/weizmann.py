"""weizmann4: four actions of nine people, or their six phases, which only the order tells apart."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..interfaces import ClipShape, ClipSource, Manifest, Splits
from .listing import Clip, Listing, ListReader
from .videos import VideoSettings, describe, open_splits

FOLDER_NAME = "weizmann4"
SUBJECTS = range(1, 10)
_FIRST_SPLIT_SEED = 100


class WeizmannSettings(VideoSettings):
    """Which task, and who trains.

    Args:
        task: "phase": six classes of half-cycles, each clip there forwards and backwards under the
            paired label, so that a recognizer blind to order cannot pass 50 %. "action": four
            actions.
        reversed_in_memory: The `_rev` clips are the forward originals played backwards, exactly;
            false decodes the files, which were encoded a second time.
        train_subjects: These people train and all others validate; None keeps the official lists
            (1-6 and 7-9).
        split: Split number K: two people drawn by `random.Random(100 + K)` train. Excludes
            `train_subjects`.
    """

    task: Literal["phase", "action"] = "phase"
    reversed_in_memory: bool = True
    train_subjects: tuple[int, ...] | None = None
    split: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _subjects_are_split(self) -> WeizmannSettings:
        people = self.train_subjects
        if people is None:
            return self
        if self.split is not None:
            raise ValueError("give `train_subjects` or `split`, not both")
        if not set(people) < set(SUBJECTS) or not people or len(set(people)) < len(people):
            raise ValueError(
                f"`train_subjects` must be some of 1..9, each once and not all, but got {people}"
            )
        return self

    @property
    def training_people(self) -> frozenset[int] | None:
        """Return who trains, or None for the official lists."""
        if self.split is not None:
            return frozenset(random.Random(_FIRST_SPLIT_SEED + self.split).sample(SUBJECTS, 2))
        return None if self.train_subjects is None else frozenset(self.train_subjects)


class Weizmann(ClipSource):
    """weizmann4, official lists or splits by person."""

    name = "weizmann"
    settings_type = WeizmannSettings

    def manifest(self, settings: WeizmannSettings, data_root: Path | None) -> Manifest:
        """Describe the clips.

        Raises:
            ValueError: There is no weizmann4 folder, or it is not whole.
        """
        return describe(_listing(settings, data_root), settings)

    def splits(
        self, settings: WeizmannSettings, data_root: Path | None, clip: ClipShape, seed: int
    ) -> Splits:
        """Open both splits.

        Raises:
            ValueError: As for `manifest`.
        """
        return open_splits(_listing(settings, data_root), settings, clip, seed)


def find_folder(data_root: Path | None) -> Path:
    """Return the weizmann4 folder.

    Looked for below the data root, then below `$HARNESS_DATA`.

    Raises:
        ValueError: It is in none of them; the message lists them.
    """
    places = [data_root, os.environ.get("HARNESS_DATA")]
    folders = [Path(place) / FOLDER_NAME for place in places if place]
    for folder in folders:
        if folder.is_dir():
            return folder
    looked = "".join(f"\n  {folder}" for folder in folders) or " nothing: neither is set"
    raise ValueError(
        f"no folder {FOLDER_NAME} with clips and lists; looked for{looked}\n"
        "Set the data root (--data-root) or HARNESS_DATA to the folder that holds it."
    )


def _listing(settings: WeizmannSettings, data_root: Path | None) -> Listing:
    reader = ListReader(find_folder(data_root), "_rev" if settings.reversed_in_memory else None)
    ending = "_phase.txt" if settings.task == "phase" else ".txt"
    official = reader.read(f"train{ending}", f"val{ending}", f"classes{ending}")
    people = settings.training_people
    return official if people is None else _by_person(official, people)


def _by_person(official: Listing, people: frozenset[int]) -> Listing:
    clips = (*official.train, *official.val)
    train = tuple(clip for clip in clips if _person(clip) in people)
    val = tuple(clip for clip in clips if _person(clip) not in people)
    return Listing(train, val, official.class_names)


def _person(clip: Clip) -> int:
    found = re.match(r"p(\d+)_", clip.path.name)
    if not found:
        raise ValueError(f"{clip.line}: the name does not begin with p<subject>_: {clip.name}")
    return int(found.group(1))


WEIZMANN = Weizmann()
