"""Report: all that is shown of a sweep, redrawn from its records alone, without running anything.

Writes into one folder: frontier.csv and comparisons.csv for machines, table.md and table.tex for
people, pareto.png and pareto.pdf.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .comparisons import SUBJECT
from .files import write_atomic
from .frontier import Frontier, frontiers
from .record import Record
from .render import markdown_text, to_csv, to_latex, to_markdown, to_rich
from .stats import CANNOT
from .tables import Table, cell_table, comparison_table, hypervolume_table

if TYPE_CHECKING:
    from rich.console import RenderableType

PICTURES = ("png", "pdf")

NOTES = (
    "Accuracies are means over seeds with 95 % t-intervals. GMACs are executed multiply-adds of "
    "one view of one clip, gates and cheap operations included. Over budget and failed count "
    "seeds; means are over the others' figures and, where over budget, at what was reached. "
    "On the frontier: no cell executes less and is as accurate. rho is the share of the saved "
    "MACs that is saved time too."
)
COMPARISON_NOTES = (
    "Differences are paired by seed, with a BCa bootstrap interval, and tested by sign flips; "
    "p-values are adjusted after Holm over all comparisons on one data set and recognizer."
)
HYPERVOLUME_NOTES = (
    "The area that a method's points dominate, of share of the dense MACs against accuracy; "
    "reference point: all of the MACs, no accuracy."
)


@dataclass(frozen=True)
class _Content:
    """What every format is made from, computed once."""

    title: str
    frontiers: list[Frontier]
    cells: Table
    comparisons: Table
    hypervolumes: Table
    failed: list[Record]

    @classmethod
    def of(cls, records: Sequence[Record], title: str, subject: str) -> _Content:
        if not records:
            raise ValueError("A report needs at least one record, but got none.")
        panels = frontiers(records)
        return cls(
            title=title,
            frontiers=panels,
            cells=cell_table(panels),
            comparisons=comparison_table(panels, subject),
            hypervolumes=hypervolume_table(panels),
            failed=[run for panel in panels for cell in panel.cells for run in cell.failed],
        )


def write_report(
    records: Sequence[Record],
    folder: Path,
    title: str,
    formats: Sequence[str] = ("csv", "md", "tex", "png", "pdf"),
    subject: str = SUBJECT,
) -> dict[str, Path]:
    """Write a sweep's tables and figures; the same records give the same bytes.

    Args:
        records: the sweep's, in the order in which things are to appear.
        folder: where to; made if it is not there.
        title: of the report.
        formats: any of csv, md, tex, png, pdf.
        subject: name or label of the method that the others are compared with.

    Returns:
        The files written, by their names.

    Raises:
        ValueError: there are no records, a format is unknown, or labels do not tell trials apart.
        OSError: the folder cannot be written.
    """
    known = [*_TEXTS, *PICTURES]
    if unknown := sorted(set(formats).difference(known)):
        raise ValueError(f"`formats` must be of {', '.join(known)}, but got {unknown}.")
    content = _Content.of(records, title, subject)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [path for name in _TEXTS if name in formats for path in _TEXTS[name](content, folder)]
    paths += _draw(content, folder, [name for name in PICTURES if name in formats])
    return {path.name: path for path in paths}


def summary(records: Sequence[Record], title: str = "", subject: str = SUBJECT) -> RenderableType:
    """The report for a terminal: cells, comparisons, and what failed and why.

    Raises:
        ValueError: there are no records, or labels do not tell trials apart.
    """
    from rich.console import Group
    from rich.text import Text

    content = _Content.of(records, title, subject)
    parts: list[RenderableType] = [Text(title, style="bold")] if title else []
    for panel in content.frontiers:
        parts.append(_panel_table(cell_table([panel]), f"{panel.recognizer} on {panel.dataset}"))
        parts += _comparison_parts(comparison_table([panel], subject))
    parts += [Text(f"failed: {line}", style="red") for line in _failures(content.failed)]
    return Group(*parts)


def _panel_table(table: Table, title: str) -> RenderableType:
    """A table as narrow as can be: less what the title says, and columns that say nothing.

    A count of nothing (failed, over budget, ...) says nothing; an accuracy of 0 says a lot.
    """
    narrow = table.narrow().without("dataset", "recognizer")
    silent = [
        column.name
        for column in narrow.columns
        if all(v is None or v == "" for v in narrow.column(column.name))
        or (column.name.startswith("n_") and not any(narrow.column(column.name)))
    ]
    return to_rich(narrow.without(*silent), title)


def _comparison_parts(table: Table) -> list[RenderableType]:
    """The comparisons that seeds could decide as a table, the others as one line a reason."""
    from rich.text import Text

    verdicts = [str(value) for value in table.column("verdict")]
    hopeless = Counter(text for text in verdicts if text.startswith(CANNOT))
    rows = tuple(r for r, text in zip(table.rows, verdicts, strict=True) if text not in hopeless)
    parts: list[RenderableType] = []
    if rows:
        parts.append(_panel_table(Table(table.columns, rows), "which differences are real"))
    parts += [
        Text(f"  {n} of {len(verdicts)} comparisons {text}\n") for text, n in hopeless.items()
    ]
    return parts


def _write_csv(content: _Content, folder: Path) -> list[Path]:
    tables = {
        "frontier.csv": content.cells,
        "comparisons.csv": content.comparisons,
        "hypervolume.csv": content.hypervolumes,
    }
    return [_write(folder / name, to_csv(table)) for name, table in tables.items()]


def _write_markdown(content: _Content, folder: Path) -> list[Path]:
    parts = [
        f"# {markdown_text(content.title)}\n",
        to_markdown(content.cells.narrow()),
        NOTES + "\n",
    ]
    if content.comparisons.rows:
        parts += ["## Which differences are real\n", to_markdown(content.comparisons.narrow())]
        parts += [COMPARISON_NOTES + "\n"]
    if content.hypervolumes.rows:
        parts += ["## Hypervolume\n", to_markdown(content.hypervolumes), HYPERVOLUME_NOTES + "\n"]
    if content.failed:
        parts += [
            "## Failed trials\n",
            "\n".join(f"- {line}" for line in _failures(content.failed)),
        ]
    return [_write(folder / "table.md", "\n".join(parts))]


def _write_latex(content: _Content, folder: Path) -> list[Path]:
    parts = [
        "% needs \\usepackage{booktabs}\n",
        to_latex(content.cells.narrow(), f"{content.title}. {NOTES}", "tab:cells"),
    ]
    if content.comparisons.rows:
        table = content.comparisons.narrow()
        parts.append(to_latex(table, COMPARISON_NOTES, "tab:comparisons"))
    return [_write(folder / "table.tex", "\n".join(parts))]


_TEXTS: dict[str, Callable[[_Content, Path], list[Path]]] = {
    "csv": _write_csv,
    "md": _write_markdown,
    "tex": _write_latex,
}


def _draw(content: _Content, folder: Path, endings: Sequence[str]) -> list[Path]:
    if not endings:
        return []
    from .plots import save_pareto

    return save_pareto(content.frontiers, folder, formats=endings)


def _write(path: Path, text: str) -> Path:
    write_atomic(path, text)
    return path


def _failures(failed: Sequence[Record]) -> list[str]:
    return [
        f"{r.key}: {r.recognizer} {r.method} on {r.dataset}, seed {r.seed}: {_reason(r)}"
        for r in failed
    ]


def _reason(record: Record) -> str:
    if record.failure is None:
        return "ended without figures"
    first_line = record.failure.message.strip().partition("\n")[0]
    return f"{record.failure.kind}: {first_line}"
