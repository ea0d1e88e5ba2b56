"""The report: from records alone, whole, and the same each time."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from results.report import summary, write_report

FILES = {
    "frontier.csv",
    "comparisons.csv",
    "hypervolume.csv",
    "table.md",
    "table.tex",
    "pareto.png",
    "pareto.pdf",
    "pareto.svg",
    "pareto-column.pdf",
    "pareto-column.svg",
    "report.html",
}


@pytest.fixture
def records(make_record):
    return [
        make_record("dense", name="dense", budget=None, top1=0.9, share=1.0),
        *(make_record(seed=seed, top1=0.8) for seed in range(2)),
        make_record("slice", name="slice", top1=0.7),
        make_record("slice", name="slice", seed=1, failed=True),
    ]


def shown(renderable, width=100):
    console = Console(width=width, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


def test_all_files_are_written_and_named(records, tmp_path):
    folder = tmp_path / "not there yet"
    paths = write_report(records, folder, "Title")

    assert paths.keys() == FILES
    assert {path.name for path in folder.iterdir()} == FILES
    assert all(path.stat().st_size > 0 for path in paths.values())


def test_the_text_files_are_the_same_each_time(records, tmp_path):
    formats = ("csv", "md", "tex", "html", "svg")
    first = write_report(records, tmp_path / "a", "Title", formats)
    again = write_report(records, tmp_path / "b", "Title", formats)
    assert {n: p.read_text() for n, p in first.items()} == {
        n: p.read_text() for n, p in again.items()
    }


def test_the_table_tells_what_failed_and_why(records, tmp_path):
    text = write_report(records, tmp_path, "A *title*", ["md"])["table.md"].read_text()
    assert text.startswith("# A \\*title\\*\n")
    assert "slice on UCF-101, seed 1: RuntimeError: out of memory" in text
    assert "cannot be significant at 0.05 with n = 1" in text


def test_failed_seeds_are_counted_in_the_csv(records, tmp_path):
    path = write_report(records, tmp_path, "Title", ["csv"])["frontier.csv"]
    rows = {
        row["method"]: row for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    }
    assert (rows["slice"]["n"], rows["slice"]["n_failed"]) == ("1", "1")


def test_a_sweep_in_which_all_failed_is_still_reported(make_record, tmp_path):
    assert write_report([make_record(failed=True)], tmp_path, "Title").keys() == FILES


def test_an_unknown_format_is_refused_before_anything_is_written(records, tmp_path):
    with pytest.raises(
        ValueError, match=r"must be of csv, md, tex, html, png, pdf, svg, but got \['gif'\]"
    ):
        write_report(records, tmp_path / "out", "Title", ["csv", "gif"])
    assert not (tmp_path / "out").exists()


def test_no_records_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one record"):
        write_report([], tmp_path, "Title")


@pytest.mark.parametrize("width", [80, 120])
def test_the_summary_has_cells_verdicts_and_failures(records, width):
    text = shown(summary(records, "My sweep"), width)
    assert "My sweep" in text
    assert "TSM on UCF-101" in text
    assert "VA-RED²" in text
    assert "cannot be significant at 0.05 with n = 1" in text
    assert "out of memory" in text
    assert "yes" in text
