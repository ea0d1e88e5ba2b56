"""Render: one table as CSV for machines, and as terminal, Markdown and LaTeX text for people."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Literal

from .tables import Column, Table, Value

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "²": r"\textsuperscript{2}",
    **{character: "\\" + character for character in "&%$#_{}"},
}
_MAX_UNBROKEN = 10
_MAX_UNBROKEN_LATEX = 24
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|])")


def to_csv(table: Table) -> str:
    """Comma-separated values: names in the first line, plain unscaled values, empty for `None`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    writer.writerows(table.rows)
    return file.getvalue()


def to_rich(table: Table, title: str = "") -> RichTable:
    """A table for the terminal."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    rows = texts(table)
    for i, column in enumerate(table.columns):
        justify: Literal["left", "right"] = "right" if is_numeric(table, i) else "left"
        # where the terminal is narrow, headings are broken; names and numbers never
        width = max((len(word) for row in rows for word in row[i].split()), default=0)
        heading = Text(column.heading)
        rich_table.add_column(heading, justify=justify, min_width=width, overflow="fold")
    for row in rows:
        rich_table.add_row(*(Text(cell) for cell in row))  # Text: a label may hold [brackets]
    return rich_table


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table, numbers to the right."""
    rules = ["---:" if is_numeric(table, i) else ":---" for i in range(len(table.columns))]
    lines = [[column.heading for column in table.columns], *texts(table)]
    escaped = [[markdown_text(cell) for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in [escaped[0], rules, *escaped[1:]])


def to_latex(table: Table, caption: str, label: str) -> str:
    r"""A `table` environment that needs `\usepackage{booktabs}` and nothing else.

    Args:
        table: the rows.
        caption: plain text, escaped here.
        label: for `\ref`; letters, digits, colons and hyphens.
    """
    rows = texts(table)
    alignment = "".join(_latex_column(table, rows, i) for i in range(len(table.columns)))
    head = " & ".join(_latex_heading(column.heading) for column in table.columns)
    body = "\n".join(_latex_line(row) for row in rows)
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\scriptsize\setlength{\tabcolsep}{2pt}",
            rf"\caption{{{latex_text(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def _latex_heading(text: str) -> str:
    """A heading, in two lines where it is long."""
    first, space, last = latex_text(text).rpartition(" ")
    if len(text) <= _MAX_UNBROKEN or not space:
        return latex_text(text)
    return rf"\shortstack{{\strut {first}\\{last}}}"


def _latex_column(table: Table, rows: list[list[str]], index: int) -> str:
    """Numbers to the right; sentences broken into lines, or no page would be wide enough."""
    if is_numeric(table, index):
        return "r"
    is_long = max((len(row[index]) for row in rows), default=0) > _MAX_UNBROKEN_LATEX
    return "p{8em}" if is_long else "l"


def latex_text(text: str) -> str:
    """`text` with all that LaTeX would take as a command made plain, on one line."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _latex_line(cells: list[str]) -> str:
    # the empty group keeps a first cell such as "[x]" from being read as an option of \\ above it
    return "{}" + " & ".join(latex_text(cell) for cell in cells) + r" \\"


def markdown_text(text: str) -> str:
    """`text` with all that Markdown or HTML would take as a mark made plain, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def texts(table: Table) -> list[list[str]]:
    """The cells of a table as people read them, scaled and rounded."""
    return [
        [_text(value, column) for value, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]


def _text(value: Value, column: Column) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return f"{value * column.scale:.{column.digits}f}"


def is_numeric(table: Table, index: int) -> bool:
    """Whether a column holds numbers, so that it is set to the right."""
    values = [row[index] for row in table.rows if row[index] is not None]
    return not any(isinstance(value, str | bool) for value in values)
