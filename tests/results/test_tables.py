"""Rows of cells and comparisons, and their forms for machines and people."""

from __future__ import annotations

import csv
import io
import re

import pytest
from rich.console import Console

from results.comparisons import comparisons
from results.frontier import frontiers
from results.render import latex_text, to_csv, to_latex, to_markdown, to_rich
from results.speed import layer_rows
from results.tables import cell_table, comparison_table, hypervolume_table

HOSTILE = r"50% & a_b #1 {x} $y$ ~^ \end{tabular} | <b> [red]"
BUDGETS = (0.8, 0.6)


@pytest.fixture
def sweep(make_record):
    """Dense, VA-RED² ten points better than the slice at each budget, by 0.001 more a seed."""
    records = []
    for seed in range(6):
        records.append(
            make_record("dense", name="dense", budget=None, seed=seed, top1=0.9, share=1.0)
        )
        for budget in BUDGETS:
            top1 = 0.8 * budget + 0.001 * seed
            records.append(
                make_record(budget=budget, seed=seed, top1=top1 + 0.1, share=budget - 0.01)
            )
            records.append(
                make_record(
                    "slice", name="slice", budget=budget, seed=seed, top1=top1, share=budget
                )
            )
    return records


def test_each_cell_has_a_row_in_the_units_its_columns_name(sweep):
    table = cell_table(frontiers(sweep))
    dense_macs = sweep[0].macs.dense

    assert table.column("method") == ["dense", "VA-RED²", "VA-RED²", "slice", "slice"]
    assert table.column("budget") == [None, *BUDGETS, *BUDGETS]
    shares = [1.0, *(b - 0.01 for b in BUDGETS), *BUDGETS]
    assert table.column("executed_share") == pytest.approx(shares)
    assert table.column("executed_gmacs") == pytest.approx([s * dense_macs / 1e9 for s in shares])
    assert table.column("pareto") == [True, True, True, False, False]
    assert table.column("n") == [6] * 5
    assert table.column("latency_ms") == [80.0] * 5
    rho = [None, *((1 - 0.8) / (1 - share) for share in shares[1:])]
    assert table.column("rho")[1:] == pytest.approx(rho[1:])
    assert table.column("rho")[0] is None


def test_the_narrow_table_keeps_what_a_reader_needs(sweep):
    names = [column.name for column in cell_table(frontiers(sweep)).narrow().columns]
    assert {"method", "budget", "executed_gmacs", "accuracy_top1", "n_failed"} <= set(names)
    assert "train_time_s" not in names


def test_a_cell_without_figures_has_empty_fields_not_zeros(make_record):
    table = cell_table(frontiers([make_record(failed=True)]))
    assert table.column("accuracy_top1") == table.column("executed_gmacs") == [None]
    assert (table.column("n"), table.column("n_failed")) == ([0], [1])


def test_the_subject_meets_each_method_at_its_budget_and_dense_at_all(sweep):
    (frontier,) = frontiers(sweep)
    found = comparisons(frontier)

    assert [(c.subject.budget, c.other.method, c.other.budget) for c in found] == [
        (0.8, "dense", None),
        (0.8, "slice", 0.8),
        (0.6, "dense", None),
        (0.6, "slice", 0.6),
    ]
    against_slice = [c for c in found if c.other.method == "slice"]
    assert [c.difference.mean for c in against_slice] == pytest.approx([0.1, 0.1])
    assert all(c.p_adjusted == pytest.approx(4 * 2 / 2**6) for c in found)
    assert {c.verdict for c in found} == {
        "cannot be significant at 0.05 with n = 6 and 4 comparisons"
    }


def test_a_label_can_be_the_subject(sweep):
    (frontier,) = frontiers(sweep)
    found = comparisons(frontier, subject="slice")
    assert {c.other.method for c in found} == {"dense", "VA-RED²"}
    assert comparisons(frontier, subject="absent") == []


def test_a_clear_difference_is_called_real(make_record):
    records = [
        record
        for seed in range(7)
        for record in (
            make_record(seed=seed, top1=0.7 + 0.001 * seed),
            make_record("slice", name="slice", seed=seed, top1=0.6),
        )
    ]
    table = comparison_table(frontiers(records))
    assert table.column("verdict") == ["higher"]
    assert table.column("p_value") == pytest.approx([2 / 2**7])
    assert table.column("accuracy_top1_difference") == pytest.approx([0.103])


def test_seeds_of_failed_trials_are_told_as_unpaired(make_record):
    records = [make_record(seed=seed) for seed in range(3)]
    records += [
        make_record("slice", name="slice", seed=seed, failed=seed == 1) for seed in range(3)
    ]
    table = comparison_table(frontiers(records))
    assert (table.column("n_pairs"), table.column("n_unpaired")) == ([2], [1])


def test_hypervolume_has_a_row_a_method_but_dense(sweep):
    table = hypervolume_table(frontiers(sweep))
    assert table.column("method") == ["VA-RED²", "slice"]
    ours, slices = table.column("hypervolume")
    assert ours > slices


def test_csv_reads_back_without_loss(sweep):
    table = cell_table(frontiers(sweep))
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))

    assert list(rows[0]) == [column.name for column in table.columns]
    assert [float(row["accuracy_top1"]) for row in rows] == table.column("accuracy_top1")
    assert rows[0]["budget"] == ""


def test_markdown_has_one_cell_a_column_even_for_hostile_labels(make_record):
    table = cell_table(frontiers([make_record(HOSTILE)])).narrow()
    lines = to_markdown(table).splitlines()
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]

    assert len(lines) == 3
    assert bars == [len(table.columns) + 1] * 3
    assert "<b>" not in lines[2]


def test_people_read_percent_and_machines_shares(sweep):
    table = cell_table(frontiers(sweep))
    assert "| 90.0 |" in to_markdown(table)
    assert ",0.9," in to_csv(table)


def test_latex_escapes_all_that_would_be_a_command(make_record):
    table = cell_table(frontiers([make_record(HOSTILE)])).narrow()
    text = to_latex(table, caption=HOSTILE, label="tab:x")

    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert text.count(r"\end{tabular}") == 1
    row = text.split(r"\midrule")[1].splitlines()[1]
    assert len(re.findall(r"(?<!\\)&", row)) == len(table.columns) - 1
    assert row.endswith(r"\\")
    unescaped = re.findall(r"(?<!\\)[%#$_]", text)
    assert unescaped == []
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("a_b", r"a\_b"),
        ("50 %", r"50 \%"),
        ("\\", r"\textbackslash{}"),
        ("VA-RED²", r"VA-RED\textsuperscript{2}"),
        ("two\nlines", "two lines"),
    ],
)
def test_latex_text(plain, escaped):
    assert latex_text(plain) == escaped


def test_no_terminal_is_too_narrow_for_a_name():
    name = "backbone.layer2.0.downsample.conv.conv_s"
    layers = layer_rows([dict(layer=name, macs=1e9, full_ms=1.0, channels=None, frames=None)])
    console = Console(width=40, file=io.StringIO())
    console.print(to_rich(layers), crop=False)
    assert name in console.file.getvalue()
    assert "1.000" in console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_terminal_shows_labels_as_they_are(make_record, width):
    table = cell_table(frontiers([make_record("[bold]x")])).narrow().without("dataset")
    console = Console(width=width, file=io.StringIO())
    console.print(to_rich(table, "title [y]"))
    text = console.file.getvalue()
    assert "[bold]x" in text
    assert "title [y]" in text
