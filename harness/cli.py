"""The commands. Only reads the command line; what they do is elsewhere."""

# Nothing heavy is imported up here: `harness --help` must answer at once.
from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from .cost import Cost
    from .request import Request

app = typer.Typer(
    name="harness",
    help="Measure what efficient video recognition really saves, under FLOP budgets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help would take longer to load than all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)

Budgets = Annotated[Path, typer.Argument(help="The sweep's file, such as budgets.yaml.")]
Runs = Annotated[Path, typer.Option(help="Folder that results go to.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        help="Folder that the data sets' relative paths start at; by default the current one.",
        envvar="DATA_ROOT",
        exists=True,
        file_okay=False,
    ),
]
OfExecutor = Annotated[str, typer.Option("--executor", help="Instead of the file's.")]
OfTrial = Annotated[str, typer.Argument(help="A trial's key, or how it begins.")]
Detach = Annotated[bool, typer.Option("--detach", help="Submit to the cluster; do not wait.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
OfSweep = Annotated[str, typer.Argument(help="A sweep's name, or its budgets.yaml.")]
RUNS = Path("runs")
GC_THRESHOLD = 100_000
"""Objects made between two searches for garbage: ten thousand trials are all kept anyway."""

PIPED_WIDTH = 120
"""Columns of what goes to a file or a pipe, where no terminal is too narrow."""

LONG_S = 3600.0
"""Sweeps that may take longer are asked about."""


@app.command(epilog="Example: harness macs tsm --scale desk")
def macs(
    recognizer: Annotated[
        str, typer.Argument(help="A name from `harness list`, or an MMAction2 config file (.py).")
    ],
    scale: Annotated[str, typer.Option(help="desk or paper.")] = "paper",
    size: Annotated[int | None, typer.Option(min=16, help="Side of the input in pixels.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of the clip.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, layer by layer.")] = False,
) -> None:
    """Count the multiply-adds of a dense recognizer for one view of one clip."""
    from .inspection import macs

    _exit(macs(recognizer, scale, size, frames, as_json, _console()))


@app.command(epilog="Example: harness bench tsn --saving 0.35 --batch 1,8")
def bench(
    subject: Annotated[
        str,
        typer.Argument(help="A recognizer of `harness list`; or a trial's key, or how it begins."),
    ],
    scale: Annotated[str | None, typer.Option(help="desk or paper; paper by default.")] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Side of the input in pixels.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of the clip.")] = None,
    saving: Annotated[
        float | None, typer.Option(help="Nominal saving of drawn routes; 0.35 by default.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="What they reduce: both (the default), channel, time.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Drawn routes, each from its own seed; 3 by default.")
    ] = None,
    clips: Annotated[
        int | None, typer.Option(help="Clips whose gates decide; 16 by default.")
    ] = None,
    batch: Annotated[str, typer.Option(help="Clips at once, such as 1,8.")] = "1",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, or both by a comma.")] = "float32",
    threads: Annotated[int, typer.Option(help="Threads of every variant.")] = 1,
    repeats: Annotated[int, typer.Option(help="Rounds; all variants run in each.")] = 11,
    variants: Annotated[str, typer.Option(help="Names, by commas; all by default.")] = "",
    gate_layers: Annotated[
        str | None,
        typer.Option(help="Gates in all layers (the default), or auto: where halving saves time."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights of the recognizer whose gates decide.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Its clips, as in budgets.yaml; generated ones by default."),
    ] = None,
    method_settings: Annotated[
        str | None, typer.Option(help="Of the method, such as '{search_space: 3}'.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Time halved layers one by one instead.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for JSON and plot.")] = RUNS / "bench",
    runs: Runs = RUNS,
    data_root: DataRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time what drawn routes save, or those a trial learnt, against every dense engine there is."""
    from .bench import bench
    from .bench_request import Request

    choices = {
        "scale": scale,
        "size": size,
        "frames": frames,
        "saving": saving,
        "axes": axes,
        "seeds": seeds,
        "clips": clips,
        "gate-layers": gate_layers,
        "dataset": dataset,
        "method-settings": method_settings,
    }
    asked = {name: value for name, value in choices.items() if value is not None}
    data_root = data_root or Path.cwd()
    request = Request(
        subject,
        asked,
        batch,
        dtype,
        threads,
        repeats,
        variants,
        runs,
        data_root,
        layers,
        checkpoint,
    )
    _exit(bench(request, out, as_json, _console()))


@app.command(epilog="Example: harness sweep budgets.yaml --runs runs")
def sweep(
    budgets: Budgets,
    data_root: DataRoot = None,
    runs: Runs = RUNS,
    executor: OfExecutor = "",
    dry_run: Annotated[bool, typer.Option(help="Show what would run, and run nothing.")] = False,
    detach: Detach = False,
    yes: Yes = False,
) -> None:
    """Run what is missing of a sweep, then write its tables and figures."""
    from . import commands

    request = _request(budgets, data_root, runs, executor, will_run=not dry_run)
    if dry_run:
        _exit(commands.dry_run(request, _console()))
    manner = commands.Manner(confirm=_asks(yes), detach=detach)
    _exit(commands.run_sweep(request, _console(), manner))


@app.command(epilog="Example: harness resume budgets.yaml")
def resume(
    budgets: Budgets,
    data_root: DataRoot = None,
    runs: Runs = RUNS,
    executor: OfExecutor = "",
    detach: Detach = False,
    yes: Yes = False,
) -> None:
    """Go on with a sweep: what is missing or was cancelled runs, from where it was saved."""
    from . import commands

    request = _request(budgets, data_root, runs, executor, will_run=True)
    manner = commands.Manner(commands.again_stopped, _asks(yes), detach)
    _exit(commands.run_sweep(request, _console(), manner))


@app.command(epilog="Example: harness retry budgets.yaml --failed")
def retry(
    budgets: Budgets,
    trials: Annotated[list[str] | None, typer.Argument(help="Keys of trials.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed.")] = False,
    data_root: DataRoot = None,
    runs: Runs = RUNS,
    executor: OfExecutor = "",
    detach: Detach = False,
    yes: Yes = False,
) -> None:
    """Run trials of a sweep again that failed, and what is missing."""
    from . import commands
    from .problems import UserError

    if failed == bool(trials):
        raise UserError("say which trials to run again: their keys, or --failed for all that did")
    request = _request(budgets, data_root, runs, executor, will_run=True)
    chosen = commands.again_chosen(trials) if trials else commands.again_failed
    manner = commands.Manner(chosen, _asks(yes), detach)
    _exit(commands.run_sweep(request, _console(), manner))


@app.command(epilog="Example: harness cancel budgets.yaml")
def cancel(
    sweep: OfSweep,
    trials: Annotated[list[str] | None, typer.Argument(help="Keys; by default all.")] = None,
    runs: Runs = RUNS,
    yes: Yes = False,
) -> None:
    """End trials that run on a cluster, or wait for it; what they saved is kept."""
    from results.store import Store

    from . import single

    ask = None if yes else lambda question: typer.confirm(question, default=False)
    _exit(single.cancel(Store(runs), _name(sweep), trials or [], _console(), ask))


@app.command(epilog="Example: harness logs -f 3f2a9c")
def logs(
    trial: OfTrial,
    runs: Runs = RUNS,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
) -> None:
    """Print what a trial printed on the node where it runs."""
    from results.store import Store

    from . import single

    _exit(single.logs(Store(runs), trial, follow, _console()))


@app.command(epilog="Example: harness why 3f2a9c")
def why(trial: OfTrial, runs: Runs = RUNS) -> None:
    """Tell the story of a trial: its state, its attempts, and the last lines of its log."""
    from results.store import Store

    from . import single

    _exit(single.why(Store(runs), trial, _console()))


@app.command(epilog="Example: harness plan budgets.yaml")
def plan(budgets: Budgets, data_root: DataRoot = None, runs: Runs = RUNS) -> None:
    """Show what a sweep would run, what is there already, and what the rest will cost."""
    from . import commands

    _exit(commands.plan_only(_request(budgets, data_root, runs), _console()))


@app.command(epilog="Example: harness status budgets.yaml")
def status(budgets: Budgets, data_root: DataRoot = None, runs: Runs = RUNS) -> None:
    """Show how far a sweep is, what is missing, and why trials failed."""
    from . import commands

    _exit(commands.status(_request(budgets, data_root, runs), _console()))


@app.command("list", epilog="Example: harness list")
def list_names() -> None:
    """List the recognizers, methods, data sets and executors that budgets.yaml may name."""
    from .inspection import names

    _exit(names(_console()))


@app.command(epilog="Example: harness schema > budgets.schema.json")
def schema() -> None:
    """Print the JSON schema of budgets.yaml, for editors."""
    import json

    from .schema import schema

    typer.echo(json.dumps(schema(), indent=2))


@app.command(epilog="Example: harness report budgets.yaml")
def report(
    sweep: OfSweep,
    runs: Runs = RUNS,
    html: Annotated[
        bool, typer.Option("--html", help="Only report.html, the page; no tables, no figures.")
    ] = False,
) -> None:
    """Draw all tables and figures of a sweep again, and its page, from its records."""
    from results.store import Store

    from . import reporting

    told = reporting.page if html else reporting.report
    _exit(told(Store(runs), _name(sweep), _console()))


@app.command(epilog="Example: harness serve budgets.yaml --port 8000")
def serve(
    sweep: OfSweep,
    runs: Runs = RUNS,
    port: Annotated[
        int, typer.Option(min=0, max=65534, help="The page's; MLflow takes the next. 0: any.")
    ] = 8000,
) -> None:
    """Show a sweep's page and MLflow in the browser, on this machine alone, until Ctrl-C."""
    from results.store import Store

    from . import reporting

    _exit(reporting.serve(Store(runs), _name(sweep), port, _console()))


@app.command(epilog="Example: harness sync budgets.yaml --to http://127.0.0.1:5000")
def sync(
    sweep: OfSweep,
    runs: Runs = RUNS,
    to: Annotated[str, typer.Option(help="MLflow URI; by default the sweep's own store.")] = "auto",
) -> None:
    """Send all records of a sweep to MLflow again; twice does no harm."""
    from results.store import Store

    from . import reporting
    from .publish import tracking_uri

    store, name = Store(runs), _name(sweep)
    uri = tracking_uri(to, store.sweep_folder(name))
    _exit(reporting.sync(store, name, uri, _console()))


@app.command(epilog="Example: harness reproduce quick --only paper")
def reproduce(
    sweep: Annotated[
        str,
        typer.Argument(
            help="A sweep, its budgets.yaml, a folder with records or a file of them; without one "
            "only what needs no records is checked."
        ),
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option(help="Ids of claims, or how they begin; again for more.")
    ] = None,
    runs: Runs = RUNS,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a claim is NOT REPRODUCED.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold published claims and figures against what can be measured here."""
    from results.store import Store

    from .reproduce import reproduce

    named = _name(sweep) if sweep else None
    _exit(reproduce(named, Store(runs), only or [], as_json, strict, _console()))


@app.command(epilog="Example: harness check quick --against benchmarks/quick")
def check(
    sweep: Annotated[
        str, typer.Argument(help="A sweep, its budgets.yaml, a folder with records or a file.")
    ],
    against: Annotated[str, typer.Option(help="The committed one, likewise.")],
    runs: Runs = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a sweep with a committed one; exit with 1 on a regression beyond noise."""
    from results.store import Store

    from .check import check

    _exit(check(_name(sweep), _name(against), Store(runs), as_json, _console()))


@app.command(epilog="Example: harness export quick --out quick.zip")
def export(
    sweep: OfSweep,
    runs: Runs = RUNS,
    out: Annotated[Path | None, typer.Option(help="The zip; else in the sweep's folder.")] = None,
) -> None:
    """Pack a sweep into a zip that another lab can rerun: code, environment, records, checklist."""
    from results.store import Store

    from .export import export

    asked = Path(sweep) if sweep.endswith((".yaml", ".yml")) else None
    _exit(export(Store(runs), _name(sweep), asked, out, _console()))


@app.command(epilog="Example: harness doctor budgets.yaml")
def doctor(
    budgets: Annotated[
        Path | None,
        typer.Argument(help="A sweep's file; if it runs on SLURM, a test job tries a node."),
    ] = None,
    runs: Runs = RUNS,
    mlflow: Annotated[str, typer.Option(help="MLflow URI, auto or off.")] = "auto",
    wait_min: Annotated[float, typer.Option(help="How long the test job may wait.")] = 5.0,
) -> None:
    """Look for what is wrong with this machine or its cluster, and say how to mend it."""
    from .budgets import load
    from .inspection import doctor
    from .publish import tracking_uri

    sweep = None if budgets is None else load(budgets)
    _exit(doctor(runs, tracking_uri(mlflow, runs), _console(), sweep, 60 * wait_min))


def main() -> None:
    """Run the command line; what a person can mend is told in a message, without a traceback."""
    gc.set_threshold(GC_THRESHOLD)
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise SystemExit(130) from None
    except Exception as error:
        from .problems import is_for_people

        if not is_for_people(error):
            raise
        typer.echo(f"harness: {error}", err=True)
        raise SystemExit(2) from None


def _request(
    budgets: Path,
    data_root: Path | None,
    runs: Path,
    executor: str = "",
    will_run: bool = False,
) -> Request:
    from .request import read_request
    from .sweep import Settings

    # a worker starts in another folder, so the current one is meant by its whole path
    settings = Settings(runs, data_root or Path.cwd())
    return read_request(budgets, settings, executor or None, will_run)


def _name(sweep: str) -> str:
    if not sweep.endswith((".yaml", ".yml")):
        return sweep
    from .budgets import load

    return load(Path(sweep)).name


def _asks(yes: bool) -> Callable[[Cost], bool] | None:
    return _confirm if not yes and sys.stdin.isatty() else None


def _confirm(cost: Cost) -> bool:
    from .progress import duration

    if cost.time_s < LONG_S:
        return True
    many = f"{cost.num_trials} trials, about {duration(cost.time_s)} one after another"
    return typer.confirm(f"{many} ({cost.basis}). Go on?", default=True)


def _console() -> Console:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, PIPED_WIDTH)
    return console


def _exit(code: int) -> None:
    raise typer.Exit(code)
