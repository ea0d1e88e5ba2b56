"""Break a cluster while a sweep runs on it; compare its records with an undisturbed run's.

    make slurm-up; export SLURM_CONF=...
    python benchmarks/cluster_chaos.py --data-root FOLDER [--seed 0] [--work chaos]

Jobs of a stronger partition push trials out, a node is lost with all that runs on it, and the
process that submitted the sweep is killed. Then the same trials run inline. Prints what happened,
and every record that differs in anything but times.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.attempts import read_attempts
from results.record import CLOCKS_AND_PLACES, Record
from results.store import Store

HERE = Path(__file__).parent
CLUSTER = HERE.parent / "tests" / "cluster" / "slurm_cluster.sh"
BUDGETS = HERE / "cluster" / "chaos.yaml"


def main() -> None:
    """Disturb, wait, run again undisturbed, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("chaos"))
    parser.add_argument("--pause-s", type=float, default=30.0, help="Between two disturbances.")
    options = parser.parse_args()
    disturbed, calm = options.work / "disturbed", options.work / "calm"
    say(f"seed {options.seed}")
    chaos(options, disturbed)
    say("all trials ended; now the same ones inline")
    subprocess.run([*sweep(options, calm), "--executor", "inline"], check=True)
    sys.exit(compare(Store(disturbed), Store(calm)))


def chaos(options: argparse.Namespace, runs: Path) -> None:
    """Run the sweep on the cluster, with one disturbance after the other."""
    draw = random.Random(options.seed)
    waiting = subprocess.Popen(sweep(options, runs))
    lost: list[str] = []
    events: list[Callable[[], Any]] = [lambda: push_out(draw.choice(busy())) for _ in range(2)]
    events += [lambda: lost.append(lose(draw.choice(busy()))), lambda: kill(waiting)]
    draw.shuffle(events)
    for event in events:
        time.sleep(options.pause_s * draw.uniform(0.5, 1.5))
        event()
    waiting.wait()
    say(f"the sweep that submitted ended with {waiting.returncode}; another one waits on")
    for node in lost:
        control("start-node", node)
    subprocess.run(sweep(options, runs), check=True)


def kill(waiting: subprocess.Popen[bytes]) -> None:
    """End the process that submitted the sweep, without a word."""
    say("kill -9 of the sweep")
    waiting.kill()


def push_out(node: str) -> None:
    """Let a short job of a stronger partition take a node."""
    say(f"preemption on {node}")
    subprocess.run(
        ["sbatch", "--partition=high", f"--nodelist={node}", "--exclusive", "--time=1",
         "--output=/dev/null", "--wrap=sleep 5"],
        check=True,
    )  # fmt: skip


def lose(node: str) -> str:
    """End all processes of a node at once; return its name."""
    say(f"{node} is lost")
    control("kill-node", node)
    return node


def busy() -> list[str]:
    """Nodes that run trials now."""
    command = ["squeue", "--noheader", "--states=R", "--partition=grace", "--format=%N"]
    while True:
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if told.split():
            return sorted(set(told.split()))
        time.sleep(1)


def control(*words: str) -> None:
    """Give an order to the virtual cluster."""
    subprocess.run([CLUSTER, *words], check=True, stdin=subprocess.DEVNULL)


def sweep(options: argparse.Namespace, runs: Path) -> list[str]:
    """The command under test."""
    return ["harness", "sweep", str(BUDGETS), "--data-root", str(options.data_root),
            "--runs", str(runs), "--yes"]  # fmt: skip


def compare(disturbed: Store, calm: Store) -> int:
    """Print how many attempts trials took, and which records differ; 1 if any does."""
    keys = calm.read_sweep("chaos").keys
    attempts = [len(read_attempts(disturbed.trial_folder(key).path)) for key in keys]
    print(f"trials {len(keys)}, attempts {sum(attempts)}, at most {max(attempts)} a trial")
    pairs = [(disturbed.read_record(key), calm.read_record(key)) for key in keys]
    differing = [key for key, pair in zip(keys, pairs, strict=True) if differences(pair)]
    for key, pair in zip(keys, pairs, strict=True):
        if found := differences(pair):
            print(f"{key}: {', '.join(found)} differ")
    print(f"{len(keys) - len(differing)} of {len(keys)} records equal")
    return 1 if differing else 0


def differences(pair: Sequence[Record | None]) -> list[str]:
    """Return the names of fields in which two records differ."""
    one, other = (record.model_dump() if record else {} for record in pair)
    return [field for field in one.keys() | other.keys()
            if field not in CLOCKS_AND_PLACES and one.get(field) != other.get(field)]  # fmt: skip


def say(text: str) -> None:
    """Print with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
