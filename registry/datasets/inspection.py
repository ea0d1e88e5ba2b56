"""Decode every video once and remember what came of it, by path, size and time of change."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from .decoding import ClipError, Decoder, DecoderChoice, iterate_frames

logger = logging.getLogger(__name__)

_FORMAT = 1
_PROGRESS_EVERY = 500


@dataclass(frozen=True)
class Video:
    """What one file holds.

    Args:
        sha256: Of the file's content.
        decoder: The decoder that reads it to the end; None when none does.
        num_frames: Frames that decode; 0 for an unreadable file.
        height: Pixels, upright.
        width: Pixels, upright.
        reason: Why it is unreadable, else empty.
    """

    sha256: str
    decoder: Decoder | None
    num_frames: int = 0
    height: int = 0
    width: int = 0
    reason: str = ""


def inspect_videos(paths: Iterable[Path], choice: DecoderChoice) -> dict[Path, Video]:
    """Return what each file holds, decoding only files not seen before.

    Verdicts lie in one JSON file per folder of videos below the user's cache; where that cannot be
    read or written, every file is decoded again.
    """
    found: dict[Path, Video] = {}
    for folder, members in _by_folder(paths).items():
        found |= _inspect_folder(folder, members, choice)
    return found


def inspect_video(path: Path, choice: DecoderChoice) -> Video:
    """Decode one file to its end; where both decoders fail, the second one's reason stands."""
    sha256 = _digest(path)
    if path.stat().st_size == 0:
        return Video(sha256, None, reason="the file is empty")
    reason = ""
    for decoder in _decoders(choice):
        try:
            return _count(path, decoder, sha256)
        except ClipError as error:
            reason = str(error)
            logger.info("%s does not decode with %s: %s", path, decoder, error)
    return Video(sha256, None, reason=reason)


def _decoders(choice: DecoderChoice) -> tuple[Decoder, ...]:
    return ("decord", "pyav") if choice == "auto" else (choice,)


def _count(path: Path, decoder: Decoder, sha256: str) -> Video:
    count, height, width = 0, 0, 0
    for frame in iterate_frames(path, decoder):
        count, (height, width) = count + 1, frame.shape[:2]
    return Video(sha256, decoder, count, height, width)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _by_folder(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for path in sorted(set(paths)):
        folders.setdefault(path.parent, []).append(path)
    return folders


def _inspect_folder(folder: Path, paths: list[Path], choice: DecoderChoice) -> dict[Path, Video]:
    memory = cache_folder() / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.json"
    known = _recall(memory)
    keys = {path: _key(path, choice) for path in paths}
    new = [path for path in paths if keys[path] not in known]
    if new:
        known |= _inspect_all(new, keys, choice)
        _remember(memory, known)
    return {path: known[keys[path]] for path in paths}


def _inspect_all(
    paths: list[Path], keys: Mapping[Path, str], choice: DecoderChoice
) -> dict[str, Video]:
    logger.info(
        "decoding %d clips in %s once to see that they can be read", len(paths), paths[0].parent
    )
    found = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        videos = pool.map(lambda path: inspect_video(path, choice), paths)
        for done, (path, video) in enumerate(zip(paths, videos, strict=True), start=1):
            found[keys[path]] = video
            if done % _PROGRESS_EVERY == 0:
                logger.info("decoded %d of %d clips", done, len(paths))
    return found


def _key(path: Path, choice: DecoderChoice) -> str:
    stat = path.stat()
    return f"{path.name} {stat.st_size} {stat.st_mtime_ns} {choice}"


def cache_folder() -> Path:
    """Return `vared-harness` below `$XDG_CACHE_HOME`, by default `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "vared-harness"


def _recall(memory: Path) -> dict[str, Video]:
    try:
        stored = json.loads(memory.read_text(encoding="utf-8"))
        if stored["format"] != _FORMAT:
            return {}
        return {key: Video(**video) for key, video in stored["videos"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # any spoilt content
        return {}


def _remember(memory: Path, known: Mapping[str, Video]) -> None:
    stored = {"format": _FORMAT, "videos": {key: asdict(video) for key, video in known.items()}}
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=memory.parent, suffix=".tmp", delete=False, encoding="utf-8"
        ) as file:
            json.dump(stored, file)
        Path(file.name).replace(memory)
    except OSError as error:
        logger.info("verdicts on clips are not kept: %s", error)
