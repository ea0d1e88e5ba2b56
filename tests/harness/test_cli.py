"""The command line: what people see, exit codes, and how fast help is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from harness.cli import app, main
from harness.doctor import Finding

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    command.name or command.callback.__name__
    for command in app.registered_commands
    if command.callback
)
HEAVY = ("torch", "ray", "mlflow", "numpy", "pydantic", "rich", "yaml")


def harness(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from harness.cli import main; main()", *arguments]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )


def test_help_loads_nothing_heavy_and_answers_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, time; sys.argv = ['harness', '--help']\n"
        "from harness.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], time.process_time())\n"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded, _, time_s = done.stdout.splitlines()[-1].rpartition(" ")
    assert loaded == "[]"
    assert float(time_s) < 0.5  # processor time, so that a busy machine does not fail it


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_that_names_it(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert f"Example: harness {command}" in " ".join(shown.output.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"harness {command}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_mistakes_end_with_2_a_message_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "budgets.yaml").write_text("recognizers: [tns]\nbudgets: [1.5]\n")
    done = harness("plan", "budgets.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "`recognizers[0].name`" in done.stderr
    assert "`budgets[0]`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_command_gets_a_hint(tmp_path: Path) -> None:
    done = harness("swep", "budgets.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean" in done.stderr
    assert "sweep" in done.stderr


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def write(folder: Path, document: dict[str, Any]) -> str:
    path = folder / "budgets.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"datasets": ["absent"]}, "no clips under /nowhere"),
        ({"tracking": {"mlflow": "ftp://nowhere"}}, "ftp://nowhere"),
    ],
    ids=["data", "tracking"],
)
def test_what_stops_a_sweep_is_told_before_it_starts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    document: dict[str, Any],
    change: dict[str, Any],
    said: str,
) -> None:
    budgets = write(tmp_path, document | change)
    assert run_main(monkeypatch, "sweep", budgets, "--runs", str(tmp_path / "runs")) == 2
    assert said in capsys.readouterr().err


def test_a_runs_folder_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    document: dict[str, Any],
) -> None:
    (tmp_path / "file").write_text("")
    budgets = write(tmp_path, document)
    assert run_main(monkeypatch, "sweep", budgets, "--runs", str(tmp_path / "file" / "runs")) == 2
    assert "Cannot write" in capsys.readouterr().err


def test_our_own_mistakes_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, document: dict[str, Any]
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.commands.make_plan", broken)
    monkeypatch.setattr(sys, "argv", ["harness", "status", write(tmp_path, document)])
    with pytest.raises(ZeroDivisionError):
        main()


def test_a_sweep_nobody_ran(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_main(monkeypatch, "report", "ghost", "--runs", str(tmp_path)) == 2
    assert "ghost" in capsys.readouterr().err


def test_list_and_schema(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "list") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("tsn", "gated", "clips", "inline"))
    assert run_main(monkeypatch, "schema") == 0
    assert json.loads(capsys.readouterr().out)["required"] == ["datasets", "methods", "recognizers"]


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("warning", 0), ("broken", 1)])
def test_doctor_says_the_fix(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verdict: Any,
    code: int,
) -> None:
    finding = Finding(verdict, "decoder av", "is not installed", "pip install av")
    monkeypatch.setattr("harness.doctor.examine", lambda runs, uri: [finding])
    assert run_main(monkeypatch, "doctor") == code
    assert "fix: pip install av" in capsys.readouterr().out
