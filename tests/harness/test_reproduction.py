"""reproduce, check and export as a person runs them, on the committed records."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.budgets import load, parse
from harness.checkout import code_of
from harness.expand import expand
from harness.publish import publish
from harness.resolved import resolve
from results.files import read_jsonl
from results.record import EngineCheck, Record
from results.store import Labels, Store, Sweep

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
COMMITTED = BENCHMARKS / "weizmann-accuracy"
NAME = "weizmann-accuracy"


Harness = Callable[..., Any]


@pytest.fixture(autouse=True)
def light_registry() -> None:
    """Replaces the stand-ins of the other tests here: this file is about the real tables."""


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Harness) -> Harness:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return shell


def kept(runs: Path, records: list[Record], name: str = NAME) -> Store:
    """A runs folder that has the records as a sweep."""
    store = Store(runs)
    for record in records:
        store.write_record(record)
        store.write_trial(record.key, record.trial)
    keys = tuple(record.key for record in records)
    store.write_sweep(Sweep(name=name, title="From committed records", keys=keys))
    return store


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    kept(tmp_path / "runs", read_jsonl(COMMITTED / "records.jsonl"))
    return tmp_path / "runs"


def written(path: Path, records: list[Record]) -> Path:
    path.write_text("".join(record.model_dump_json() + "\n" for record in records))
    return path


def worse(record: Record, by: float) -> Record:
    assert record.accuracy
    less = record.accuracy.model_copy(update={"top1": record.accuracy.top1 - by})
    return record.model_copy(update={"accuracy": less})


def told(shown: Any) -> Any:
    return json.loads(shown.out)


@pytest.mark.parametrize("source", [COMMITTED, COMMITTED / "records.jsonl", NAME], ids=str)
def test_the_paper_s_claims_on_a_sweep(harness: Harness, runs: Path, source: object) -> None:
    shown = harness("reproduce", source, "--only", "paper", "--json")
    assert shown.code == 0
    saving = [one for one in told(shown) if one["id"] == "paper-saving"]
    assert [one["verdict"] for one in saving] == ["REPRODUCED"] * 3
    assert all("paired by seed, n = 5" in one["evidence"] for one in saving)
    assert {one["kind"] for one in told(shown)} == {"stated"}


def test_what_the_model_zoo_prints_is_counted(harness: Harness) -> None:
    shown = harness("reproduce", "--only", "zoo-tsn-r50-8.", "--only", "zoo-c3d", "--json")
    verdicts = {one["id"]: one["verdict"] for one in told(shown)}
    assert verdicts == {
        "zoo-tsn-r50-8.gmacs": "REPRODUCED",
        "zoo-tsn-r50-8.params": "REPRODUCED",
        "zoo-tsn-r50-8.top1": "NOT RUN",
        "zoo-c3d-16x1.gmacs": "REPRODUCED",
        "zoo-c3d-16x1.params": "REPRODUCED",
        "zoo-c3d-16x1.top1": "NOT RUN",
    }


def test_strict_fails_where_a_figure_is_not_reproduced(harness: Harness) -> None:
    """The zoo's row of TSM on Kinetics-400 has the parameters of a classifier for 174 classes."""
    words = ("reproduce", "--only", "zoo-tsm-r50-8.params")
    assert harness(*words).code == 0
    shown = harness(*words, "--strict")
    assert shown.code == 1
    assert "NOT REPRODUCED" in shown.out
    assert "174 classes" in shown.out
    assert "1 NOT REPRODUCED." in shown.out


def test_recalled_claims_stand_under_a_heading_of_their_own(harness: Harness) -> None:
    shown = harness("reproduce", "--only", "recalled")
    assert "not read in it, so not published figures" in shown.out
    assert "printed by" not in shown.out


def test_the_same_records_are_no_regression(harness: Harness, runs: Path) -> None:
    shown = harness("check", NAME, "--against", COMMITTED)
    assert shown.code == 0
    assert "45 pairs by seed, 45 of the very same trial" in shown.out
    assert "No regression beyond noise." in shown.out


def test_a_sweep_s_folder_elsewhere_may_be_named_in_full(harness: Harness, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / NAME
    folder.mkdir(parents=True)
    written(folder / "records.jsonl", read_jsonl(COMMITTED / "records.jsonl"))
    (folder / "sweep.json").write_text("{}")
    shown = harness("check", folder, "--against", COMMITTED)
    assert shown.code == 0
    assert "No regression beyond noise." in shown.out


def test_a_regression_ends_with_1(harness: Harness, tmp_path: Path) -> None:
    records = read_jsonl(COMMITTED / "records.jsonl")
    file = written(tmp_path / "worse.jsonl", [worse(r, 0.2 + 0.001 * r.seed) for r in records])
    shown = harness("check", file, "--against", COMMITTED)
    assert shown.code == 1
    assert "A regression." in shown.out
    assert "cannot be significant at 0.05 with n = 5" in shown.out
    data = told(harness("check", file, "--against", COMMITTED, "--json"))
    assert data["regressed"]
    assert [c["cell"] for c in data["changes"] if c["is_regression"]] == ["all cells together"]


def test_missing_cells_are_listed_and_are_no_regression(harness: Harness, tmp_path: Path) -> None:
    records = read_jsonl(COMMITTED / "records.jsonl")
    file = written(tmp_path / "part.jsonl", [r for r in records if r.method != "narrow"])
    shown = harness("check", file, "--against", COMMITTED)
    assert shown.code == 0
    assert shown.out.count("missing: phase, ") == 3
    assert "missing: phase, TSM, narrow at 0.7" in shown.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reproduce", "weizman-accuracy"), "Did you mean 'weizmann-accuracy'?"),
        (("reproduce", "nowhere/at/all"), "neither a sweep under runs, nor a folder"),
        (("reproduce", "--only", "paper-savings"), "Did you mean 'paper-saving'?"),
        (("reproduce", "empty.jsonl"), "has no record yet"),
        (("reproduce", "damaged.jsonl"), "damaged.jsonl, line 1` must hold a Record"),
        (("reproduce", "binary.jsonl"), "binary.jsonl, line 1` must hold a Record"),
        (("reproduce", "bare"), "yet"),
        (("reproduce", "mixed.jsonl"), "Labels must tell trials apart"),
        (("check", "none", "--against", str(COMMITTED)), "'none' is neither a sweep"),
        (("check", NAME, "--against", "none"), "'none' is neither a sweep"),
        (("check", NAME, "--against", str(BENCHMARKS / "quick")), "no cell with figures in common"),
        (("check", "mixed.jsonl", "--against", NAME), "Labels must tell trials apart"),
        (("export", "none"), "There is no sweep 'none'"),
        (("export", "bare"), "has no record yet, so there is nothing to export"),
        (("export", NAME, "--out", "folder"), "cannot write folder"),
    ],
    ids=lambda value: " ".join(map(str, value))[:50] if isinstance(value, tuple) else None,
)
def test_mistakes_end_with_2_and_one_message(
    harness: Harness, runs: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    Store(runs).write_sweep(Sweep(name="bare", title="Nothing", keys=("0123456789ab",)))
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "damaged.jsonl").write_text('{"key": 1}\n')
    (tmp_path / "binary.jsonl").write_bytes(b"\x00\xff\xfe")
    (tmp_path / "folder").mkdir()
    first = read_jsonl(COMMITTED / "records.jsonl")[0]
    written(tmp_path / "mixed.jsonl", [first, first.model_copy(update={"key": "another"})])
    shown = harness(*words)
    assert shown.code == 2
    assert said in shown.err
    assert "Traceback" not in shown.err


def test_a_damaged_sweep_file_is_told(harness: Harness, runs: Path) -> None:
    (runs / NAME / "sweep.json").write_text("{")
    shown = harness("reproduce", NAME, "--only", "paper")
    assert shown.code == 2
    assert "sweep.json" in shown.err


def test_check_wants_to_know_against_what(harness: Harness) -> None:
    assert harness("check", COMMITTED).code == 2


def test_the_report_has_the_verdicts_and_the_guards(runs: Path) -> None:
    records = read_jsonl(COMMITTED / "records.jsonl")
    check = EngineCheck(num_clips=128, num_disagreeing=2, worst_difference=0.1, macs_mean=1.0)
    store = kept(runs, [*records[:-1], records[-1].model_copy(update={"engine": check})])
    publish(store, NAME, ("md",))
    table = (runs / NAME / "table.md").read_text()
    assert "20 to 40 % fewer FLOPs without loss of accuracy (stated" in table
    assert "another prediction for 2 of 128 clips (seed 4)" in table
    assert "CHECK" in table
    name = "engine/phase/R(2+1)D/narrow/0.7"
    (runs / NAME / "explained.yaml").write_text(yaml.safe_dump({name: "Ties in two clips."}))
    publish(store, NAME, ("md",))
    table = (runs / NAME / "table.md").read_text()
    assert "EXPLAINED" in table
    assert "Ties in two clips." in table


@pytest.mark.parametrize("text", ["[1, 2]", "name:", "a: [", "{a: 3}"])
def test_explanations_that_are_none_are_refused(harness: Harness, runs: Path, text: str) -> None:
    (runs / NAME / "explained.yaml").write_text(text)
    shown = harness("report", NAME)
    assert shown.code == 2
    assert "explained.yaml" in shown.err


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The committed sweep packed twice; the first unpacked by a plain zip reader."""
    folder = tmp_path_factory.mktemp("bundle")
    store = kept(folder / "runs", read_jsonl(COMMITTED / "records.jsonl"))
    sweep = store.read_sweep(NAME)
    labels = {key: Labels(dataset="p", recognizer=r, method=m) for key, r, m in _names(store)}
    store.write_sweep(sweep.model_copy(update={"labels": labels}))
    for name in ("one.zip", "two.zip"):
        out = ("export", NAME, "--runs", str(folder / "runs"), "--out", str(folder / name))
        command = [sys.executable, "-c", "from harness.cli import main; main()", *out]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "45 of 45 trials have a record." in done.stdout
    with zipfile.ZipFile(folder / "one.zip") as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked", folder


def _names(store: Store) -> list[tuple[str, str, str]]:
    records = store.records(store.read_sweep(NAME).keys)
    return [(record.key, record.recognizer, record.method) for record in records]


def test_a_bundle_is_the_same_each_time(bundle: tuple[Path, Path]) -> None:
    _, folder = bundle
    assert (folder / "one.zip").read_bytes() == (folder / "two.zip").read_bytes()


def test_its_records_are_read_back_by_the_project_s_own_functions(
    bundle: tuple[Path, Path],
) -> None:
    unpacked, _ = bundle
    store = Store(unpacked / "runs")
    sweep = store.read_sweep(NAME)
    reading = store.read_sweep_records(sweep)
    committed = read_jsonl(COMMITTED / "records.jsonl")
    assert (reading.missing, reading.damaged) == ((), {})
    assert store.records(sweep.keys) == committed
    assert {record.dataset for record in reading.records} == {"p"}
    assert read_jsonl(unpacked / "runs" / NAME / "records.jsonl") == list(reading.records)
    for record in committed:
        trial = json.loads(store.trial_folder(record.key).trial_path.read_text())
        assert trial == record.trial
    names = {path.name for path in (unpacked / "runs" / NAME).iterdir()}
    assert {"report.html", "table.md", "frontier.csv", "pareto.pdf"} <= names


def test_its_digests_hold_and_its_source_opens(bundle: tuple[Path, Path]) -> None:
    unpacked, _ = bundle
    lines = (unpacked / "SHA256SUMS").read_text().splitlines()
    files = {p for p in unpacked.rglob("*") if p.is_file() and p.name != "SHA256SUMS"}
    assert {unpacked / line.split("  ", 1)[1] for line in lines} == files
    for line in lines:
        digest, name = line.split("  ", 1)
        assert hashlib.sha256((unpacked / name).read_bytes()).hexdigest() == digest
    about = json.loads((unpacked / "code" / "revision.json").read_text())
    (recorded,) = about["recorded"]
    assert about["recorded"][recorded] == 45
    if (ROOT / ".git").exists():
        with tarfile.open(unpacked / "code" / "source.tar") as source:
            assert "harness/cli.py" in source.getnames()
        packed = unpacked / "REPRODUCE.md"
        assert f"revision {about['packed']}" in packed.read_text()


def test_its_budgets_yaml_gives_the_same_trials(bundle: tuple[Path, Path]) -> None:
    unpacked, _ = bundle
    sweep = load(unpacked / "resolved.yaml")
    asked = load(ROOT / "examples" / "weizmann-accuracy.yaml")
    assert [entry.label for entry in sweep.datasets] == ["p"]
    assert (sweep.seeds, sweep.recipe) == (asked.seeds, asked.recipe)
    assert [entry.recipe for entry in sweep.recognizers] == [e.recipe for e in asked.recognizers]
    assert [entry.name for entry in sweep.methods] == [entry.name for entry in asked.methods]
    first = (unpacked / "resolved.yaml").read_text().partition("\n")[0]
    assert first == "# This code makes of it exactly the trials of the sweep, by their keys."


def test_its_checklist_says_what_is_not_there(bundle: tuple[Path, Path]) -> None:
    unpacked, _ = bundle
    rows = {
        cells[1].strip(): (cells[2].strip(), cells[3].strip())
        for line in (unpacked / "CHECKLIST.md").read_text().splitlines()
        if line.startswith("|") and len(cells := line.split("|")) == 5
    }
    assert rows["Functional: complete"] == ("yes", "45 of 45 trials have a record")
    assert rows["Models: trained weights"][0] == "no"
    assert rows["Results reproduced by others"][0] == "not known"
    assert rows["Results: several runs, with seeds"] == ("yes", "5 to 5 seeds a cell")
    assert {answer for answer, _ in rows.values()} <= {"yes", "no", "not known", ":---", "answer"}
    lock = (unpacked / "environment" / "requirements.lock").read_text().splitlines()
    assert all(line.count("==") == 1 for line in lock)
    assert any(line.startswith("torch==") for line in lock)


def test_an_unfinished_sweep_says_so(harness: Harness, tmp_path: Path) -> None:
    records = read_jsonl(COMMITTED / "records.jsonl")
    store = kept(tmp_path / "runs", records)
    for record in records[-15:]:
        store.trial_folder(record.key).record_path.unlink()
    assert harness("export", NAME).code == 0
    with zipfile.ZipFile(tmp_path / "runs" / NAME / f"{NAME}.zip") as archive:
        checklist = archive.read("CHECKLIST.md").decode()
        names = archive.namelist()
    assert "| Functional: complete | no | 30 of 45 trials have a record |" in checklist
    assert f"runs/trials/{records[-1].key}/trial.json" in names
    assert f"runs/trials/{records[-1].key}/record.json" not in names


DOCUMENT: dict[str, Any] = {
    "name": "small",
    "datasets": [{"name": "motion", "label": "clips", "num_train": 8, "num_val": 4}],
    "recognizers": ["tsn", {"name": "tsm", "label": "TSM"}],
    "methods": ["dense", {"name": "vared", "budgets": [0.8], "axes": ["time"]}, "narrow"],
    "budgets": [0.7, 0.5],
    "seeds": [3, 1],
    "recipe": {"epochs": 2},
}


def records_of(document: dict[str, Any]) -> list[Record]:
    """Records without figures of all trials that a budgets.yaml asks for."""
    return [
        Record(
            key=trial.key,
            status="failed",
            trial=trial.model_dump(mode="json"),
            dataset=trial.dataset.label,
            recognizer=trial.recognizer.label,
            method=trial.method.label,
            budget=trial.budget,
            seed=trial.seed,
            manifest_digest=trial.data_digest,
        )
        for trial in expand(parse(document))
    ]


def test_what_is_made_from_trials_asks_for_the_same_trials() -> None:
    records = records_of(DOCUMENT)
    keys = {record.key for record in records}
    resolved = resolve("small", records, keys)
    assert resolved.is_exact
    again = parse(yaml.safe_load(resolved.text))
    assert {trial.key for trial in expand(again)} == keys
    fewer = resolve("small", records, sorted(keys)[:-1])
    assert not fewer.is_exact
    assert f"{len(keys)} trials of it, {len(keys) - 1} of them among" in fewer.note


def test_trials_of_several_recipes_are_no_one_file() -> None:
    searched = DOCUMENT | {"search": {"recipe.lr": [0.001, 0.002]}}
    resolved = resolve("small", records_of(searched), ())
    assert resolved.text == ""
    assert "several recipes" in resolved.note
    nothing = [record.model_copy(update={"trial": {}}) for record in records_of(DOCUMENT)]
    assert resolve("small", nothing, ()).text == ""


def git(root: Path, *words: str) -> str:
    own = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    done = subprocess.run(["git", "-C", root, *own, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / "code.py").write_text("first = 1\n")
    git(root, "add", "code.py")
    git(root, "commit", "--quiet", "-m", "First")
    return root


def of_revision(revision: str) -> Record:
    return records_of(DOCUMENT)[0].model_copy(update={"code_revision": revision})


def test_the_revision_that_records_name_is_packed(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    (checkout / "code.py").write_text("second = 2\n")
    git(checkout, "commit", "--quiet", "-a", "-m", "Second")
    second = git(checkout, "rev-parse", "HEAD")
    code = code_of([of_revision(first)], checkout)
    assert (code.packed, code.here, code.is_exact) == (first, second, True)
    assert b"first = 1" in code.files["code/source.tar"]
    assert b"second = 2" in code.files["code/tools.tar"]
    assert "code/changes.diff" not in code.files
    assert second in code.unpacking


def test_what_is_modified_is_told_and_packed_beside_it(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    (checkout / "code.py").write_text("first = 3\n")
    code = code_of([of_revision(f"{head}+"), of_revision(head)], checkout)
    assert code.here == f"{head}+"
    assert not code.is_exact
    assert b"+first = 3" in code.files["code/changes.diff"]
    assert "code/tools.tar" not in code.files
    assert f"records name: {head}+, {head}" in code.sentence


def test_unknown_revisions_and_no_checkout(checkout: Path, tmp_path: Path) -> None:
    code = code_of([of_revision("0" * 40)], checkout)
    assert (code.packed, code.is_exact) == (git(checkout, "rev-parse", "HEAD"), False)
    outside = code_of([of_revision("")], tmp_path)
    assert list(outside.files) == ["code/revision.json"]
    assert outside.sentence == "no checkout was at hand, so no source is packed"
