"""Report: all that is shown of a sweep, redrawn from its records alone, without running anything.

Writes into one folder: frontier.csv, comparisons.csv, hypervolume.csv and, where there is something
to tell, any-budget.csv and dependence.csv for machines, table.md and table.tex for people, the
figure as pareto.png, .pdf and .svg, once more at the width of a paper's column, and report.html.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .by_clip import dependence_told
from .comparisons import SUBJECT
from .content import (
    ANY_BUDGET_NOTES,
    CHECK,
    CLAIM_NOTES,
    COMPARISON_NOTES,
    DEPENDENCE_NOTES,
    HYPERVOLUME_NOTES,
    NOTES,
    Claim,
    Content,
    content_of,
    failures,
)
from .files import write_atomic
from .record import Record
from .render import markdown_text, to_csv, to_latex, to_markdown, to_rich
from .rivals import rivals_told
from .stats import CANNOT
from .tables import Column, Table

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_PANELS_TOLD = 12
"""Recognizers on data sets that a terminal shows; nobody scrolls through more."""

VECTORS = ("pdf", "svg")
PICTURES = ("png", *VECTORS)
FORMATS = ("csv", "md", "tex", "html", *PICTURES)


def write_report(
    records: Sequence[Record],
    folder: Path,
    title: str,
    formats: Sequence[str] = FORMATS,
    subject: str = SUBJECT,
) -> dict[str, Path]:
    """Write a sweep's tables and figures; the same records give the same bytes.

    Args:
        records: the sweep's, in the order in which things are to appear.
        folder: where to; made if it is not there.
        title: of the report.
        formats: any of csv, md, tex, html, png, pdf, svg.
        subject: name or label of the method that the others are compared with.

    Returns:
        The files written, by their names.

    Raises:
        ValueError: there are no records, a format is unknown, or labels do not tell trials apart.
        OSError: the folder cannot be written.
    """
    return write_content(content_of(records, title, subject), folder, formats)


def write_content(
    content: Content, folder: Path, formats: Sequence[str] = FORMATS
) -> dict[str, Path]:
    """`write_report` of what is computed already."""
    if unknown := sorted(set(formats).difference(FORMATS)):
        raise ValueError(f"`formats` must be of {', '.join(FORMATS)}, but got {unknown}.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [path for name in _TEXTS if name in formats for path in _TEXTS[name](content, folder)]
    paths += _draw(content, folder, [name for name in PICTURES if name in formats])
    return {path.name: path for path in paths}


def summary(records: Sequence[Record], title: str = "", subject: str = SUBJECT) -> RenderableType:
    """The report for a terminal: cells, comparisons, and what failed and why.

    Raises:
        ValueError: there are no records, or labels do not tell trials apart.
    """
    return terminal(content_of(records, title, subject))


def terminal(content: Content) -> RenderableType:
    """`summary` of what is computed already."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(content.title, style="bold")] if content.title else []
    for panel in content.frontiers[:MAX_PANELS_TOLD]:
        names = panel.dataset, panel.recognizer
        title = f"{panel.recognizer} on {panel.dataset}"
        parts.append(_panel_table(content.cells.of_panel(*names), title))
        parts += _comparison_parts(content.comparisons.of_panel(*names))
    if (more := len(content.frontiers) - MAX_PANELS_TOLD) > 0:
        parts.append(Text(f"... and {more} more recognizers on data sets: see the files\n"))
    parts += [Text(f"failed: {line}", style="red") for line in failures(content.failed)]
    parts += [
        Text(f"{verdict}: {claim}\n  {evidence}", style="yellow" if verdict == CHECK else "")
        for claim, verdict, evidence in content.flags
    ]
    if content.claims:
        counts = Counter(claim.verdict for claim in content.claims)
        told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        parts.append(Text(f"claims: {told}; `harness reproduce` says why"))
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


def _write_csv(content: Content, folder: Path) -> list[Path]:
    tables = {
        "frontier.csv": content.cells,
        "comparisons.csv": content.comparisons,
        "hypervolume.csv": content.hypervolumes,
    }
    if content.any_budget.rows:
        tables["any-budget.csv"] = content.any_budget
    if content.dependence.rows:
        tables["dependence.csv"] = content.dependence
    return [_write(folder / name, to_csv(table)) for name, table in tables.items()]


def _write_markdown(content: Content, folder: Path) -> list[Path]:
    parts = [
        f"# {markdown_text(content.title)}\n",
        to_markdown(content.cells.narrow()),
        NOTES + "\n",
    ]
    if content.comparisons.rows:
        parts += ["## Which differences are real\n"]
        parts += [*(f"- {markdown_text(text)}" for text in rivals_told(content.comparisons)), ""]
        parts += [to_markdown(content.comparisons.narrow())]
        parts += [COMPARISON_NOTES + "\n"]
    if content.hypervolumes.rows:
        parts += ["## Hypervolume\n", to_markdown(content.hypervolumes), HYPERVOLUME_NOTES + "\n"]
    if content.any_budget.rows:
        parts += ["## Other budgets without retraining\n", to_markdown(content.any_budget)]
        parts += [ANY_BUDGET_NOTES + "\n"]
    if content.dependence.rows:
        told = dependence_told(content.dependence)
        parts += ["## Does saving depend on the clip?\n", f"{told}\n"]
        parts += [to_markdown(content.dependence.narrow()), DEPENDENCE_NOTES + "\n"]
    if content.judged:
        parts += ["## Claims\n", to_markdown(_claim_table(content)), CLAIM_NOTES + "\n"]
    if content.failed:
        parts += [
            "## Failed trials\n",
            "\n".join(f"- {line}" for line in failures(content.failed)),
        ]
    return [_write(folder / "table.md", "\n".join(parts))]


def _claim_table(content: Content) -> Table:
    columns = tuple(Column(name, name) for name in Claim._fields)
    return Table(columns, content.judged)


def _write_latex(content: Content, folder: Path) -> list[Path]:
    parts = [
        "% needs \\usepackage{booktabs}\n",
        to_latex(content.cells.narrow(), f"{content.title}. {NOTES}", "tab:cells"),
    ]
    if content.comparisons.rows:
        table = content.comparisons.narrow()
        parts.append(to_latex(table, COMPARISON_NOTES, "tab:comparisons"))
    return [_write(folder / "table.tex", "\n".join(parts))]


def _write_page(content: Content, folder: Path) -> list[Path]:
    from .page import page

    return [_write(folder / "report.html", page(content))]


_TEXTS: dict[str, Callable[[Content, Path], list[Path]]] = {
    "csv": _write_csv,
    "md": _write_markdown,
    "tex": _write_latex,
    "html": _write_page,
}


def _draw(content: Content, folder: Path, endings: Sequence[str]) -> list[Path]:
    if not endings:
        return []
    from .plots import COLUMN_WIDTH_IN, save_pareto

    paths = save_pareto(content.frontiers, folder, formats=endings)
    if vectors := [ending for ending in endings if ending in VECTORS]:
        paths += save_pareto(
            content.frontiers,
            folder,
            formats=vectors,
            width_in=COLUMN_WIDTH_IN,
            name="pareto-column",
        )
    return paths


def _write(path: Path, text: str) -> Path:
    write_atomic(path, text)
    return path
