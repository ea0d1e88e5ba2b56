"""The Pareto figure: what it shows, that it is always drawn, that it is the same each time."""

from __future__ import annotations

import pytest

from results.frontier import frontiers
from results.plots import COLUMN_WIDTH_IN, macs_unit, method_styles, pareto_figure, save_pareto

MARKERS = {"*", "o", "s"}


@pytest.fixture
def records(make_record):
    return [
        record
        for recognizer in ("TSN", "TSM")
        for seed in range(2)
        for record in (
            make_record("dense", name="dense", budget=None, seed=seed, recognizer=recognizer,
                        top1=0.9, share=1.0),
            make_record(seed=seed, recognizer=recognizer, top1=0.8 + 0.01 * seed),
            make_record("slice", name="slice", seed=seed, recognizer=recognizer, top1=0.6,
                        budget_status="infeasible"),
        )
    ]  # fmt: skip


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_each_panel_is_a_recognizer_and_the_legend_names_all_that_is_drawn(records):
    figure = pareto_figure(frontiers(records))
    assert [axes.get_title() for axes in figure.axes] == ["TSN", "TSM"]
    assert legend_texts(figure) == [
        "dense",
        "VA-RED²",
        "slice",
        "one seed",
        "95 % interval",
        "dominated",
        "over budget",
        "frontier",
    ]


def test_every_mean_is_drawn_where_it_was_measured(records):
    panels = frontiers(records)
    figure = pareto_figure(panels)
    for axes, frontier in zip(figure.axes, panels, strict=True):
        drawn = {
            (round(float(x), 6), round(float(y), 6))
            for line in axes.lines
            if line.get_marker() in MARKERS
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }
        expected = {
            (round(c.macs.mean / 1e9, 6), round(100 * c.accuracy.mean, 6)) for c in frontier.cells
        }
        assert drawn == expected


def test_a_dataset_begins_a_row_and_many_recognizers_wrap(make_record):
    records = [
        make_record(dataset=dataset, recognizer=f"net {i}")
        for dataset, count in (("A", 5), ("B", 2))
        for i in range(count)
    ]
    figure = pareto_figure(frontiers(records))
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["A\ntop-1 %", "A\ntop-1 %", "B\ntop-1 %"]
    assert sum(axes.axison for axes in figure.axes) == 7


def test_methods_are_told_apart_by_colour_and_marker(make_record):
    records = [make_record(f"method {i}") for i in range(42)]
    styles = method_styles(frontiers(records))
    assert len({(style.colour, style.marker) for style in styles.values()}) == 42


@pytest.mark.parametrize(("dense", "name"), [(4e9, "GMACs"), (4e7, "MMACs")])
def test_macs_are_shown_in_a_unit_that_fits(make_record, dense, name):
    record = make_record()
    macs = record.macs.model_copy(update={"dense": int(dense), "mean": 0.7 * dense})
    assert macs_unit(frontiers([record.model_copy(update={"macs": macs})])).name == name


def test_png_and_pdf_are_written_and_the_same_each_time(records, tmp_path):
    panels = frontiers(records)
    first = {path.name: path.read_bytes() for path in save_pareto(panels, tmp_path)}
    again = {path.name: path.read_bytes() for path in save_pareto(panels, tmp_path)}

    assert first["pareto.png"].startswith(b"\x89PNG")
    assert first["pareto.pdf"].startswith(b"%PDF")
    assert first == again


@pytest.mark.parametrize(
    "labels",
    [("$x^2", "_hidden"), ("a\nb" * 40, ""), ("100% {x}", "\\frac")],
    ids=["formula", "long", "marks"],
)
def test_labels_are_never_read_as_formulas(make_record, tmp_path, labels):
    records = [make_record(label, dataset=label, recognizer=label) for label in labels]
    (path,) = save_pareto(frontiers(records), tmp_path, formats=["png"], width_in=COLUMN_WIDTH_IN)
    assert path.stat().st_size > 0


def test_a_panel_without_figures_says_so(make_record, tmp_path):
    panels = frontiers([make_record(failed=True)])
    save_pareto(panels, tmp_path, formats=["png"])
    texts = [text.get_text() for text in pareto_figure(panels).axes[0].texts]
    assert texts == ["no figures"]


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        save_pareto([], tmp_path)
