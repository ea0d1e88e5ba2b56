"""What saved multiply-adds save on the clock: recognizers x savings x batches x threads.

    python benchmarks/speed.py --out benchmarks/speed [--recognizers tsn,tsm] [--savings 0.25,0.35]
        [--batch 1,8] [--threads 1,2] [--dtype float32] [--variants ...] [--scale paper]

Runs `harness bench` for each combination, every one in a process of its own, one after another.
Leaves a JSON file and a plot of each in the folder, and `table.md`: command, commit, machine, and
the headlines with n and spread. A combination whose JSON is there already is not run again.

    python benchmarks/speed.py --out FOLDER --guard 0.05 --against benchmarks/speed/guard.json

compares instead: it ends with 1 where a `rho_engine` in the folder lies more than that below the
same figure that `--keep` wrote before, into the folder's `guard.json` unless a file is named.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.tables import RECOGNIZERS
from results.render import to_markdown
from results.speed import headline_table, variant_table

GUARD = "guard.json"


def main() -> None:
    """Run what is missing, write the table; or compare with figures kept before."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.guard is not None:
        sys.exit(_guard(options.out, options.against or options.out / GUARD, options.guard))
    for name in options.recognizers.split(","):
        for saving in options.savings.split(","):
            for threads in options.threads.split(","):
                _run(name, saving, threads, options)
    documents = _documents(options.out)
    (options.out / "table.md").write_text("\n".join(_page(documents)), encoding="utf-8")
    if options.keep:
        kept = dict(_figures(documents))
        (options.out / GUARD).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    print(options.out / "table.md")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recognizers", default=",".join(RECOGNIZERS))
    parser.add_argument("--savings", default="0.25,0.35,0.5")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--keep", action="store_true", help="write the figures to compare with")
    parser.add_argument("--guard", type=float, help="compare; how far a rho may fall")
    parser.add_argument("--against", type=Path, help="the figures to compare with")
    for name, value in (("batch", "1,8"), ("dtype", "float32"), ("scale", "paper")):
        parser.add_argument(f"--{name}", default=value)
    for name, value in (("variants", ""), ("axes", "both"), ("seeds", "3"), ("repeats", "11")):
        parser.add_argument(f"--{name}", default=value)
    parser.add_argument("--size", default="")
    for name in ("gate-layers", "method-settings"):
        parser.add_argument(f"--{name}", default="")
    return parser.parse_args()


def _run(name: str, saving: str, threads: str, options: argparse.Namespace) -> None:
    folder = options.out / f"saving-{saving}-threads-{threads}"
    if (folder / f"{name}-{options.scale}.json").exists():
        return
    arguments = [name, "--saving", saving, "--threads", threads, "--out", str(folder)]
    passed = ("batch", "dtype", "scale", "variants", "axes", "seeds", "repeats", "size")
    for key in (*passed, "gate-layers", "method-settings"):
        if value := getattr(options, key.replace("-", "_")):
            arguments += [f"--{key}", value]
    print("harness bench", shlex.join(arguments), flush=True)
    call = "from harness.cli import main; main()"
    subprocess.run([sys.executable, "-c", call, "bench", *arguments], check=True)


def _documents(out: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(out.glob("saving-*/*.json"))
    return {str(path.relative_to(out)): json.loads(path.read_text("utf-8")) for path in paths}


def _page(documents: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "# Time against multiply-adds\n"
    yield f"`python {shlex.join(sys.argv)}`, commit {_commit()}.\n"
    for where, document in documents.items():
        machine, clip = document["machine"], document["clip"]
        yield f"## {where.removesuffix('.json')}\n"
        yield (
            f"{document['recognizer']}, {clip['num_frames']} frames at {clip['size']}, "
            f"{document['saving']:.0%} nominal, axes {document['axes']}. {machine['processor']}, "
            f"{machine['num_threads']} threads on {machine['num_cores']} cores, torch "
            f"{machine['torch']}, allocator {machine['allocator']}, load "
            f"{machine['load_before']:.1f} to {machine['load_after']:.1f}.\n"
        )
        yield to_markdown(headline_table(document["headlines"]))
        yield "Median (range over routes). " + " ".join(_remarks(document)) + "\n"
        yield to_markdown(variant_table(document["variants"]))


def _remarks(document: dict[str, Any]) -> Iterator[str]:
    for line in document["headlines"]:
        place = f"{line['variant']}, {line['dtype']}, batch {line['batch']}"
        counts = [line[key] for key in ("rho_engine", "rho_best", "rho_executed") if line[key]]
        if counts:
            yield f"n = {counts[0]['num_rounds']} rounds, {counts[0]['num_routes']} routes."
        yield f"{place}: the best dense is {line['best_dense']}."
        for key, reason in line["why"].items():
            yield f"No {key} for {place}: {reason}."
    for left in document["left_out"]:
        yield f"Left out: {left['variant']} in {left['dtype']}, {left['reason']}."
    yield from (f"Warning: {text}." for text in document["warnings"])


def _figures(documents: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for where, document in documents.items():
        for line in document["headlines"]:
            if line["rho_engine"] is not None:
                place = f"{where} {line['variant']} {line['dtype']} {line['batch']}"
                yield place, line["rho_engine"]["median"]


def _guard(out: Path, file: Path, most: float) -> int:
    kept = json.loads(file.read_text("utf-8"))
    found = dict(_figures(_documents(out)))
    fallen = [place for place in kept if place in found and found[place] < kept[place] - most]
    for place in fallen:
        print(f"{place}: rho_engine {found[place]:.2f}, was {kept[place]:.2f}")
    missing = sorted(set(kept) - set(found))
    for place in missing:
        print(f"{place}: not measured, or too uncertain")
    return 1 if fallen or missing else 0


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
