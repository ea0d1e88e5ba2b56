"""The LaTeX tables compile, whatever labels hold; without a LaTeX that cannot be told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from results.report import write_report

HOSTILE = r"50% & a_b #1 {x} $y$ ~^ \end{tabular} | <b> [red]"
HOW = "apt-get install texlive-latex-base texlive-latex-recommended"
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs}
\begin{document}
\input{table}
See tables~\ref{tab:cells} and~\ref{tab:comparisons}.
\end{document}
"""


@pytest.fixture
def latex() -> str:
    found = shutil.which("pdflatex")
    if found:
        return found
    if os.environ.get("HARNESS_REQUIRE_LATEX") == "1" or os.environ.get("CI") == "true":
        pytest.fail(f"LaTeX is required: {HOW}")
    pytest.skip(f"no pdflatex: {HOW}")


@pytest.mark.parametrize("label", ["VA-RED²", HOSTILE], ids=["plain", "hostile"])
def test_the_tables_compile(latex: str, make_record, tmp_path: Path, label: str) -> None:
    records = [
        make_record("dense", name="dense", budget=None, share=1.0, dataset=label, recognizer=label),
        make_record(label, dataset=label, recognizer=label),
    ]
    write_report(records, tmp_path, label, ["tex"])
    (tmp_path / "paper.tex").write_text(PAPER, encoding="utf-8")
    for _ in range(2):  # the second time it knows what the labels refer to
        done = subprocess.run(
            [latex, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
        )
        assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 0
    assert "undefined" not in done.stdout
    if label != HOSTILE:
        assert "Overfull" not in done.stdout
