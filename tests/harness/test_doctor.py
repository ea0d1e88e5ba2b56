"""What doctor finds, each check alone."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from harness import doctor


def test_packages_that_lack_or_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["pytest>=1", "pytest<1", "no-such-package>=2", "of-an-extra>=1; extra == 'bench'"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    fine, old, absent = doctor.packages()
    assert fine.verdict == "ok"
    assert (old.verdict, absent.verdict) == ("broken", "broken")
    assert old.fix == "pip install -c constraints.txt 'pytest<1'"


def test_a_foreign_owner_of_a_root_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"results": ["results", doctor.DISTRIBUTION]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: owners)
    found = {finding.subject: finding for finding in doctor.roots()}
    assert found["package jobs"].verdict == "ok"
    assert found["package results"].fix.startswith("pip uninstall results")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (finding,) = doctor.storage(tmp_path / "file" / "runs")
    assert finding.verdict == "broken"
    assert "--runs" in finding.fix


def test_a_folder_that_can(tmp_path: Path) -> None:
    (finding,) = doctor.storage(tmp_path / "runs")
    assert finding.verdict in ("ok", "warning")  # a full disk is a warning
    assert "locked" in finding.detail


def test_an_unreachable_server() -> None:
    (finding,) = doctor.tracking("http://127.0.0.1:9")
    assert finding.verdict == "broken"
    assert not list(doctor.tracking(None))


@pytest.mark.parametrize("check", [doctor.python, doctor.memory], ids=["python", "memory"])
def test_this_machine_is_described(check: doctor.Check) -> None:
    (finding,) = check()
    assert finding.detail
    assert bool(finding.fix) is (finding.verdict != "ok")
