"""`harness bench` as from a shell: what it writes, and what it says to who gets something wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

SMALL = ("--scale", "desk", "--size", "32", "--repeats", "2", "--seeds", "1")


Harness = Callable[..., Any]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, shell: Harness, tmp_path: Path) -> Harness:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return partial(shell, "bench")


def test_it_prints_and_writes_what_it_found(harness: Harness) -> None:
    shown = harness("tsn", *SMALL, "--variants", "skipping,engine-adaptive", "--out", "found")
    assert shown.code == 0
    for variant in ("skipping", "engine-adaptive"):
        # which dense engine is the fastest is for the clock to say
        assert f"{variant}, float32, batch 1: the best dense is " in shown.out
        assert f"no rho_engine, rho_best, rho_executed, speedup_stock for {variant}" in shown.out
    assert "2 rounds; at least 5 are needed" in shown.out
    assert Path("found/tsn-desk.png").read_bytes().startswith(b"\x89PNG")
    assert str(Path("found/tsn-desk.json")) in shown.out


def test_json_has_every_key(harness: Harness) -> None:
    shown = harness("tsn", *SMALL, "--variants", "skipping", "--json", "--batch", "1,2")
    assert shown.code == 0
    found = json.loads(shown.out)
    assert found == json.loads(Path("runs/bench/tsn-desk.json").read_text())
    keys = {"ms_p50", "ms_p95", "clips_per_s", "peak_mb", "nominal_macs", "executed_macs"}
    assert all(keys <= set(row) for row in found["variants"])
    figures = {"rho_engine", "rho_best", "rho_executed", "speedup_stock"}
    for headline in found["headlines"]:
        assert {name for name in figures if headline[name] is None} == set(headline["why"])
    machine = {"processor", "num_cores", "num_threads", "torch", "allocator", "load_before"}
    assert machine <= set(found["machine"])


def test_drawn_routes_are_of_the_method_that_is_asked_for(harness: Harness) -> None:
    executed = {}
    for sees in ("own", "block"):
        settings = ("--method-settings", f"gate_sees: {sees}")
        shown = harness("tsn", *SMALL, "--variants", "engine-adaptive", "--json", *settings)
        found = json.loads(shown.out)
        assert found["recognizer"] == f"tsn with gate_sees: {sees}"
        executed[sees] = found["variants"][-1]["executed_macs"]
    assert executed["block"] < executed["own"]  # fewer maps are pooled


def test_a_processor_without_bfloat16_is_told_of_before_it_runs(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.bench.bench.bf16_units", tuple)
    small = (*SMALL, "--variants", "engine-adaptive", "--json")
    said = "warning: this processor has no units for bfloat16: it is emulated"
    assert said in harness("tsn", *small, "--dtype", "bfloat16").err
    assert said not in harness("tsn", *small, "--dtype", "float32").err


def test_layers_are_timed_one_by_one(harness: Harness) -> None:
    shown = harness("tsn", *SMALL[:-2], "--layers", "--out", "found")
    assert shown.code == 0
    found = json.loads(Path("found/tsn-desk-layers.json").read_text())
    assert f"worth a gate: 0 of {len(found['layers'])}" in shown.out  # two rounds are too few
    assert all(layer["layer"] in shown.out for layer in found["layers"])


MISTAKES = {
    "recognizer": (["tns"], ["unknown recognizer 'tns'", "'tsn'", "r2plus1d"]),
    "scale": (["tsn", "--scale", "papr"], ["unknown scale 'papr'", "'paper'", "desk"]),
    "saving": (["tsn", "--saving", "1.5"], ["`--saving` must be in (0, 1), but got 1.5"]),
    "saving no number": (["tsn", "--saving", "much"], ["'--saving'", "valid number"]),
    "batch 0": (["tsn", "--batch", "0"], ["`--batch`", "at least 1", "'0'"]),
    "batch a word": (["tsn", "--batch", "1,many"], ["`--batch`", "'many'"]),
    "no batch": (["tsn", "--batch", ","], ["`--batch` must name at least one"]),
    "dtype": (["tsn", "--dtype", "bfloat"], ["data type 'bfloat'", "'bfloat16'", "float32"]),
    "variant": (["tsn", "--variants", "foldet"], ["variant 'foldet'", "'folded'", "inductor"]),
    "axes": (["tsn", "--axes", "chanel"], ["unknown axes 'chanel'", "'channel'", "both"]),
    "threads": (["tsn", "--threads", "0"], ["`--threads` must be at least 1, but got 0"]),
    "repeats": (["tsn", "--repeats", "-1"], ["`--repeats` must be at least 1"]),
    "seeds": (["tsn", "--seeds", "0"], ["`--seeds` must be at least 1"]),
    "layers": (["tsn", "--layers", "--saving", "0.3"], ["`--saving` means nothing with --layers"]),
    "layers of batches": (["tsn", "--layers", "--batch", "8"], ["`--batch` means nothing"]),
    "two": (["tns", "--batch", "0"], ["unknown recognizer", "`--batch`"]),
    "too much": (["tsn", *SMALL, "--saving", "0.9"], ["most that routes of axes both save"]),
    "frames": (["slowfast", *SMALL, "--frames", "1"], ["multiple of 2 frames, but got 1"]),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(harness: Harness, arguments: list[str], said: list[str]) -> None:
    shown = harness(*arguments)
    assert (shown.code, shown.out) == (2, "")
    for text in said:
        assert text in shown.err
    assert not Path("runs").exists()


def test_a_folder_that_is_a_file_is_told(harness: Harness) -> None:
    Path("taken").write_text("")
    shown = harness("tsn", *SMALL, "--variants", "stock", "--out", "taken")
    assert shown.code == 2
    assert "taken" in shown.err
