"""Commands that look at recognizers, the tables and this machine; nothing is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from registry.interfaces import Scale

from .budgets import Sweep
from .findings import Finding
from .problems import UserError, nearest
from .show import line

NUM_LAYERS_SHOWN = 12


def macs(
    name: str,
    scale: Any,
    size: int | None,
    frames: int | None,
    as_json: bool,
    console: Console,
) -> int:
    """Print what a dense recognizer executes, and what could not be counted."""
    from registry.macs import summarise

    if scale not in get_args(Scale):
        choices = get_args(Scale)
        raise UserError(
            f"unknown scale {scale!r}.{nearest(scale, choices)} Choices: {', '.join(choices)}"
        )
    try:
        summary = summarise(name, scale=scale, size=size, frames=frames)
    except (LookupError, ValueError) as error:
        raise UserError(str(error)) from error
    if as_json:
        line(console, json.dumps(summary, indent=2))
    else:
        _show_summary(summary, console)
    return 0


def names(console: Console) -> int:
    """Print every name that budgets.yaml may use, a line each."""
    from jobs.backends import BACKENDS
    from registry import tables

    catalogs: dict[str, Mapping[str, Any]] = {
        "recognizers": tables.RECOGNIZERS,
        "methods": tables.METHODS,
        "datasets": tables.DATASETS,
        "executor": BACKENDS,
    }
    for heading, catalog in catalogs.items():
        line(console, f"{heading}:")
        for name, entry in catalog.items():
            line(console, f"  {name:<12} {entry.summary}")
    return 0


def doctor(
    runs: Path, uri: str | None, console: Console, sweep: Sweep | None, wait_s: float
) -> int:
    """Print what is wrong with this machine and how to mend it; 1 if something is broken.

    Args:
        runs: The folder that results would go to.
        uri: Where MLflow would keep the mirror.
        console: Where to print.
        sweep: If it runs on SLURM, a test job with its options looks at a node.
        wait_s: How long that job may take to start.
    """
    from .doctor import examine

    findings = []
    for finding in chain(examine(runs, uri), _test_job(runs, sweep, wait_s)):
        findings.append(finding)
        line(console, f"{finding.verdict:<8} {finding.subject}: {finding.detail}")
        if finding.fix:
            line(console, f"{'':<8} fix: {finding.fix}")
    num_broken = sum(finding.verdict == "broken" for finding in findings)
    line(console, f"{num_broken} broken." if num_broken else "Nothing is broken.")
    return 1 if num_broken else 0


def _test_job(runs: Path, sweep: Sweep | None, wait_s: float) -> Iterator[Finding]:
    from . import cluster_doctor

    if sweep is not None and sweep.executor.name == "slurm":
        yield from cluster_doctor.job(runs, sweep.executor.options, sweep.needs, wait_s)
    elif cluster_doctor.on_cluster():
        fix = "give doctor a budgets.yaml with `executor: slurm`"
        yield Finding("warning", "test job", "none was run", fix)


def _show_summary(summary: dict[str, Any], console: Console) -> None:
    line(console, f"input {'x'.join(map(str, summary['input_shape']))}")
    line(console, f"{summary['dense_gmacs']:.3f} GMACs for one view of one clip (multiply-adds)")
    line(console, f"{summary['params'] / 1e6:.3f} M parameters")
    table = Table("layer", "kind", "GMACs", box=None, title="The largest layers")
    layers = sorted(summary["layers"], key=lambda row: -row["macs"])
    for row in layers[:NUM_LAYERS_SHOWN]:
        table.add_row(row["layer"], row["column"], f"{row['macs'] / 1e9:.4f}")
    console.print(table)
    if summary["uncounted"]:
        line(console, f"Left out, as the model zoo does: {', '.join(summary['uncounted'])}")
    if summary["unknown"]:
        line(console, f"warning: of unknown cost: {', '.join(summary['unknown'])}")
