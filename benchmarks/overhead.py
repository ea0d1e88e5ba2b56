"""What the harness adds to the executors below it, interleaved in one run.

    make slurm-up; export SLURM_CONF=...
    python benchmarks/overhead.py slurm|ray|start|large|report [--repeats 3] [--calls 100]

slurm: wall time of N calls that do nothing, ours against bare submitit, as one job array.
ray: the same against bare Ray Tune, in one Ray that both use.
start: from submission to the first line of the call, on an idle cluster.
large: `harness plan` and `status` of 10,000 trials, a third of them done, a third under way.
report: `harness report` of 10,000 records, those of benchmarks/weizmann again and again, three to a
    cell.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from jobs.attempts import read_attempts
from jobs.executor import Call
from jobs.options import RayOptions, SlurmOptions
from registry.bench.machine import processor

NOTHING = "overhead_calls:nothing"
NUM_LARGE = 10_000
HOMES = (Path(__file__).parent, Path(__file__).parent.parent)
"""Where workers find the calls, and the project if it is not installed."""


def main() -> None:
    """Measure one of the five."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["slurm", "ray", "start", "large", "report"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--calls", type=int, default=100)
    options = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options}")
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, HOMES), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # nodes share it
        globals()[options.what](Path(folder), options)


def slurm(folder: Path, options: argparse.Namespace) -> None:
    """Ours against bare submitit."""
    import submitit

    from jobs.slurm.executor import SlurmExecutor

    def bare(place: Path) -> None:
        executor = submitit.SlurmExecutor(place)
        executor.update_parameters(time=10, cpus_per_task=1, array_parallelism=options.calls)
        for job in executor.map_array(nothing, range(options.calls)):
            job.result()

    def ours(place: Path) -> None:
        with SlurmExecutor(place, SlurmOptions()) as executor:
            consume(executor, options.calls, place)

    against(folder, options.repeats, "submitit", bare, ours)


def ray(folder: Path, options: argparse.Namespace) -> None:
    """Ours against bare Ray Tune."""
    from jobs.ray.executor import RayExecutor

    def bare(place: Path) -> None:
        from ray import tune

        tune.Tuner(
            tune.with_resources(nothing_tuned, {"CPU": 1}),
            param_space={"index": tune.grid_search(list(range(options.calls)))},
            run_config=tune.RunConfig(storage_path=str(place), verbose=0),
        ).fit()

    def ours(place: Path) -> None:
        with RayExecutor(place) as executor:
            consume(executor, options.calls, place)

    with RayExecutor(folder / "owner", RayOptions(num_cpus=os.cpu_count())) as owner:
        consume(owner, 2, folder)  # Ray is up, and workers have been started once
        against(folder, options.repeats, "Ray Tune", bare, ours)


def start(folder: Path, options: argparse.Namespace) -> None:
    """How long a single call waits on an idle cluster."""
    from jobs.slurm.executor import SlurmExecutor

    waits, returns = [], []
    with SlurmExecutor(folder / "executor", SlurmOptions()) as executor:
        for number in range(options.repeats):
            call = Call(f"{number}", NOTHING, {"value": 0}, folder=folder / str(number))
            began, clock = time.time(), time.perf_counter()
            list(executor.run([call]))
            returns.append(time.perf_counter() - clock)
            waits.append(read_attempts(folder / str(number))[0].began_at - began)
    print(
        f"submission to start of the call: {spread(waits)} s; to its outcome: {spread(returns)} s"
    )


def large(folder: Path, options: argparse.Namespace) -> None:
    """Plan and status of a sweep of 10,000 trials."""
    document = {
        "name": "large",
        "datasets": [{"name": "motion", "num_train": 64, "num_val": 32}],
        "recognizers": ["tsn", "tsm", "slowfast", "r2plus1d"],
        "methods": ["dense", "vared"],
        "budgets": [0.9, 0.8, 0.7, 0.6],
        "seeds": NUM_LARGE // 20,
        "max_trials": NUM_LARGE,
        "executor": "slurm",
        "tracking": {"mlflow": "off"},
    }
    budgets = folder / "large.yaml"
    budgets.write_text(yaml.safe_dump(document))
    fill(budgets, folder / "runs")
    for command in ("plan", "status"):
        times = []
        for _ in range(options.repeats):
            clock = time.perf_counter()
            subprocess.run(
                ["harness", command, str(budgets), "--runs", str(folder / "runs")],
                check=False,  # status says 1 where trials failed
                stdout=subprocess.DEVNULL,
            )
            times.append(time.perf_counter() - clock)
        print(f"harness {command}, {NUM_LARGE} trials: {spread(times)} s")


def report(folder: Path, options: argparse.Namespace) -> None:
    """All tables and figures, and the page, of a sweep of 10,000 records."""
    runs = folder / "runs"
    repeat_records(runs, Path(__file__).with_name("weizmann") / "records.jsonl")
    times, processor_times = [], []
    for _ in range(options.repeats):
        clock, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "harness", "report", "large", "--runs", str(runs)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - clock)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor_times.append(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
    page = runs / "large" / "report.html"
    print(f"harness report, {NUM_LARGE} records: {spread(times)} s, of processors ", end="")
    print(f"{spread(processor_times)} s; the page has {page.stat().st_size / 1e6:.1f} MB")


def repeat_records(runs: Path, path: Path) -> None:
    """Ten thousand records like those of a file, each block of them on data sets of its own."""
    from results.files import read_jsonl
    from results.store import Labels, Store, Sweep

    store, blocks, labels = Store(runs), read_jsonl(path), {}
    for number in range(NUM_LARGE):
        block, index = divmod(number, len(blocks))
        like, key = blocks[index], f"{number:012x}"
        dataset = f"{like.dataset} {block}"
        store.write_record(like.model_copy(update={"key": key, "dataset": dataset}))
        labels[key] = Labels(dataset=dataset, recognizer=like.recognizer, method=like.method)
    store.write_sweep(Sweep(name="large", title="large", keys=tuple(labels), labels=labels))


def fill(budgets: Path, runs: Path) -> None:
    """A third of the trials with a record, a third with a ticket and a heartbeat."""
    from harness.plan import stored
    from harness.request import read_request
    from harness.sweep import Settings
    from jobs.files import write_json
    from jobs.slurm.ticket import Ticket, write_job, write_ticket
    from results.record import Accuracy, Macs, Record

    request = read_request(budgets, Settings(runs))
    store, trials = request.store, request.trials
    store.write_sweep(stored(request.sweep, trials))
    submission = runs / "large" / "executor" / "20260101-000000-abcdef"
    write_job(submission, "1")
    for number, trial in enumerate(trials):
        place = store.write_trial(trial.key, trial.model_dump(mode="json")).path
        if number % 3 == 0:
            record = Record(
                key=trial.key, status="ok", trial=trial.model_dump(mode="json"),
                dataset=trial.dataset.label, recognizer=trial.recognizer.label,
                method=trial.method.label, budget=trial.budget, seed=trial.seed,
                accuracy=Accuracy(top1=0.5, top5=1.0, mean_class=0.5, num_clips=32),
                macs=Macs(dense=100, mean=90, p5=90, p50=90, p95=90, min=90, max=90),
                train_time_s=1.0,
            )  # fmt: skip
            store.write_record(record)
        elif number % 3 == 1:
            told = {"name": trial.key, "target": NOTHING, "payload": {}, "resources": {}}
            write_ticket(place, Ticket(submission, number, time.time(), 0, told))
            beat = {"attempt": 1, "beat": 1, "at": time.time(), "host": "n", "pid": 1, "job": "1"}
            write_json(place / "heartbeat.json", beat, durable=False)


def against(
    folder: Path,
    repeats: int,
    name: str,
    bare: Callable[[Path], None],
    ours: Callable[[Path], None],
) -> None:
    """Time both in turn, and print both and their ratio, pair by pair."""
    times: list[tuple[float, float]] = []
    for number in range(repeats):
        pair = []
        for kind, work in (("bare", bare), ("ours", ours))[:: 1 if number % 2 else -1]:
            clock = time.perf_counter()
            work(folder / f"{kind}{number}")
            pair.append((kind, time.perf_counter() - clock))
        took = dict(pair)
        times.append((took["bare"], took["ours"]))
        print(f"  bare {took['bare']:.1f} s, ours {took['ours']:.1f} s", flush=True)
    print(
        f"bare {name}: {spread([b for b, _ in times])} s; ours: {spread([o for _, o in times])} s"
    )
    print(f"ratio, pair by pair: {spread([o / b for b, o in times])}, n = {repeats}")


def consume(executor: Any, num_calls: int, place: Path) -> None:
    """Run calls that do nothing, as a sweep would: each with a folder of its own."""
    calls = [
        Call(f"call {n}", NOTHING, {"value": n}, folder=place / "calls" / str(n))
        for n in range(num_calls)
    ]
    assert sum(1 for _ in executor.run(calls)) == num_calls


def nothing(value: int) -> int:
    """The least that submitit can run."""
    return value


def nothing_tuned(config: dict[str, int]) -> None:
    """The least that Ray Tune can run."""
    from ray import tune

    tune.report({"value": config["index"]})


def spread(values: list[float]) -> str:
    """Median, and the range behind it."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
