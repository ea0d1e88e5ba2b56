"""From records to what people look at: tables, figures, and their mirror in MLflow."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from results.record import Record
from results.store import DamagedFileError, Reading, Store
from results.tracking_uri import check_reachable, default_uri

from .problems import UserError
from .strips import film_strips

if TYPE_CHECKING:
    from results.content import Claim, Content

FORMATS = ("csv", "md", "tex", "html", "png", "pdf", "svg")
PAGE = "report.html"

EXPLAINED = "explained.yaml"
"""Beside a sweep's records, written by a person: why flagged figures are as good as they are."""

MAX_CLAIMS = 100
"""Verdicts on the page; `harness reproduce` tells all."""


@dataclass(frozen=True)
class Published:
    """The records of a sweep under its labels, what they say, and the files made of them.

    `content` is None where there are no records.
    """

    reading: Reading
    content: Content | None
    files: tuple[Path, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """The records there are."""
        return self.reading.records


def tracking_uri(
    choice: str, sweep_folder: Path, environ: Mapping[str, str] = os.environ
) -> str | None:
    """Return where MLflow keeps the mirror of the records; None for `off`.

    Args:
        choice: `off`, `auto`, or a URI.
        sweep_folder: Where `auto` puts a database if the environment names no server.
        environ: Looked up for MLFLOW_TRACKING_URI.
    """
    if choice == "off":
        return None
    if choice != "auto":
        return choice
    return environ.get("MLFLOW_TRACKING_URI") or default_uri(sweep_folder)


def mirror_uri(sweep_folder: Path, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return where MLflow's mirror of a sweep can be looked at; None where there is none yet."""
    if (sweep_folder / "mlflow.db").is_file():
        return default_uri(sweep_folder)
    return environ.get("MLFLOW_TRACKING_URI")


def publish(store: Store, name: str, formats: Sequence[str] | None = None) -> Published:
    """Write all that is made of a sweep's records into its folder.

    Args:
        store: Where they lie.
        name: The sweep.
        formats: Those of `FORMATS` that are wanted; None for all.

    Raises:
        LookupError: There is no such sweep.
    """
    from results.content import content_of
    from results.report import write_content

    sweep = store.read_sweep(name)
    reading = store.read_sweep_records(sweep)
    copy = store.write_sweep_records(name, reading.records)
    if not reading.records:
        return Published(reading, None, (copy,))
    num_missing = len(reading.missing) + len(reading.damaged)
    explained = explanations(store.sweep_folder(name))
    content = content_of(reading.records, sweep.title, num_missing=num_missing, explained=explained)
    content = with_clips(store, content.with_claims(claims(content)))
    if "html" in (formats or FORMATS):
        content = content.with_strips(film_strips(content))
    files = write_content(content, store.sweep_folder(name), formats or FORMATS)
    return Published(reading, content, (copy, *files.values()))


def with_clips(store: Store, content: Content) -> Content:
    """Return the content with the clips of the trials whose clips are shown, where there are any.

    Nothing else depends on these files: one that is damaged is told on the page, and left out.
    """
    from results.by_clip import to_show
    from results.strips import best

    found, damaged = {}, []
    found_best = (best(frontier) for frontier in content.frontiers)
    keys = (*to_show(content.frontiers).keys, *(run.key for run in found_best if run))
    for key in dict.fromkeys(keys):
        try:
            clips = store.read_clips(key)
        except DamagedFileError as error:
            damaged.append(str(error))
            continue
        if clips is not None:
            found[key] = clips
    return content.with_clips(found, damaged)


def explanations(sweep_folder: Path) -> dict[str, str]:
    """Return why flagged figures are as good as they are: by the flag's name, in a person's words.

    Raises:
        UserError: The file is there, but is no mapping of names to sentences.
    """
    from .document import read_mapping

    path = sweep_folder / EXPLAINED
    if not path.exists():
        return {}
    found = read_mapping(path)
    if wrong := [name for name, text in found.items() if not isinstance(text, str) or not text]:
        raise UserError(f"{path}: each flag takes a sentence, but {wrong[0]!r} has none")
    return {str(name): text.strip() for name, text in found.items()}


def claims(content: Content) -> list[Claim]:
    """Return the paper's claims that the records say something about, and if there are more."""
    from results.citation import OnSweep
    from results.content import Claim
    from results.published import CLAIMS
    from results.verdicts import judge

    on_sweep = [one for one in CLAIMS if isinstance(one.check, OnSweep)]
    judged = (verdict for panel in content.frontiers for verdict in judge(on_sweep, [panel]))
    found = list(islice((v.claim for v in judged if v.word != "NOT RUN"), MAX_CLAIMS + 1))
    if len(found) > MAX_CLAIMS:
        found[-1] = Claim("There are more", "NOT SHOWN", "`harness reproduce` tells all of them")
    return found


def mirror(published: Published, name: str, uri: str | None) -> None:
    """Send a sweep's records and files to MLflow; twice does no harm."""
    if uri is None or not published.records:
        return
    from results.tracking import sync

    sync(published.records, name, published.files, uri)


def probe(uri: str | None) -> None:
    """Try the tracking server before any trial starts.

    Raises:
        TrackingError: It cannot be reached.
    """
    if uri is not None:
        check_reachable(uri)
