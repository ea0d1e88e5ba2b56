"""The four top-level packages are ours, wherever Python is started, and in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import harness
from harness.doctor import DISTRIBUTION, ROOTS

HOME = Path(harness.__file__).resolve().parents[1]


@pytest.mark.parametrize("root", ROOTS)
def test_a_worker_elsewhere_imports_ours(root: str, tmp_path: Path) -> None:
    # -I and an empty folder: in the checkout a foreign package of this name would stay unseen
    script = f"import {root}; print({root}.__file__)"
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\nis the project installed? pip install -e ."
    assert Path(done.stdout.strip()).resolve().parents[1] == HOME


@pytest.mark.parametrize("root", ROOTS)
def test_no_other_distribution_owns_the_name(root: str) -> None:
    assert set(metadata.packages_distributions().get(root, [])) <= {DISTRIBUTION}


def test_the_wheel_holds_all_four(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = zipfile.ZipFile(wheel).namelist()
    for root in ROOTS:
        ours = {str(path.relative_to(HOME)) for path in (HOME / root).rglob("*.py")}
        assert ours <= set(packed)
        assert f"{root}/py.typed" in packed
    assert {name.split("/")[0].partition("-")[0] for name in packed} == {*ROOTS, "vared_harness"}
