"""What is wrong with this machine, and the exact fix."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from . import cluster_doctor
from .findings import Finding

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

DISTRIBUTION = "vared-harness"
ROOTS = ("harness", "registry", "jobs", "results")
DECODERS = {"decord": "decord", "av": "av", "cv2": "opencv-python"}
MEMORY_GB_PER_TRIAL = 1.5
DISK_GB = 2.0


Check = Callable[[], Iterator[Finding]]


def examine(runs: Path, uri: str | None) -> Iterator[Finding]:
    """Yield all findings about this machine, and the settings of its cluster if it has one.

    Args:
        runs: The folder that results would go to.
        uri: Where MLflow would keep the mirror; None leaves that out.
    """
    checks: list[Check] = [
        python,
        packages,
        roots,
        decoders,
        recognizers,
        processor,
        memory,
        lambda: storage(runs),
        lambda: tracking(uri),
    ]
    if cluster_doctor.on_cluster():
        checks.append(cluster_doctor.settings)
    return (finding for check in checks for finding in check())


def python() -> Iterator[Finding]:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    supported = _supported_python()
    fits = supported is None or supported.contains(version)
    fix = "" if fits else f"make clean install PYTHON=a python that is {supported}"
    yield Finding("ok" if fits else "broken", "Python", f"{version} at {sys.executable}", fix)


def _supported_python() -> SpecifierSet | None:
    from packaging.specifiers import SpecifierSet

    try:
        text = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    except (metadata.PackageNotFoundError, KeyError):
        return None
    return SpecifierSet(text)


def packages() -> Iterator[Finding]:
    """What pyproject.toml requires, against what is installed."""
    from packaging.requirements import Requirement

    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding("broken", DISTRIBUTION, "is not installed", "pip install -e .")
        return
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue  # of an extra, or of another platform
        name, fix = requirement.name, f"pip install -c constraints.txt '{text}'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding("broken", name, "is not installed", fix)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        detail = version if fits else f"{version} does not satisfy {requirement.specifier}"
        yield Finding("ok" if fits else "broken", name, detail, "" if fits else fix)


def roots() -> Iterator[Finding]:
    """Whether another distribution has taken one of our top-level names."""
    home = Path(__file__).resolve().parent.parent
    owners = metadata.packages_distributions()
    for root in ROOTS:
        others = sorted(set(owners.get(root, [])) - {DISTRIBUTION})
        origin = _origin_elsewhere(root)
        if others:
            fix = f"pip uninstall {' '.join(others)}, then pip install -e . again"
            yield Finding("broken", f"package {root}", f"also of {', '.join(others)}", fix)
        elif origin != home / root:
            detail = f"a worker imports it from {origin}, not {home / root}"
            yield Finding("broken", f"package {root}", detail, f"pip install -e {home}")
        else:
            yield Finding("ok", f"package {root}", "ours")


def _origin_elsewhere(root: str) -> Path | None:
    # -I and another folder: in the checkout the working directory would hide a foreign package
    script = f"import importlib.util as u; print(u.find_spec({root!r}).origin)"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-I", "-c", script],
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
        )
    return Path(done.stdout.strip()).resolve().parent if done.returncode == 0 else None


def decoders() -> Iterator[Finding]:
    """Whether video can be read."""
    for module, distribution in DECODERS.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # a missing shared library raises whatever it likes
            missing_library = "lib" in str(error)
            fix = (
                "apt-get install libgl1 libglib2.0-0"
                if missing_library
                else f"pip install -c constraints.txt {distribution}"
            )
            yield Finding("broken", f"decoder {module}", str(error), fix)
        else:
            yield Finding("ok", f"decoder {module}", metadata.version(distribution))


def recognizers() -> Iterator[Finding]:
    """Whether MMAction2 loads and builds every recognizer of the table."""
    from registry.macs import summarise
    from registry.tables import RECOGNIZERS

    for name in RECOGNIZERS:
        try:
            cost = summarise(name, scale="desk")["dense_gmacs"]
        except Exception as error:  # whatever stops a build is the finding
            fix = "make install (mmaction2 1.2, mmcv-lite 2.1 and mmengine 0.10 go together)"
            yield Finding("broken", f"recognizer {name}", f"{type(error).__name__}: {error}", fix)
        else:
            yield Finding("ok", f"recognizer {name}", f"builds; {cost:.3f} GMACs at desk scale")


def processor() -> Iterator[Finding]:
    """How many threads torch takes, against the cores this process may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    detail = f"torch uses {threads} threads on {cores} cores"
    if cores and threads > cores:
        yield Finding("warning", "threads", detail, f"export OMP_NUM_THREADS={cores}")
    else:
        yield Finding("ok", "threads", detail)


def memory() -> Iterator[Finding]:
    """Free memory, against what one trial needs."""
    import psutil

    free_gb = psutil.virtual_memory().available / 2**30
    detail = f"{free_gb:.1f} GB free; a desk trial takes about {MEMORY_GB_PER_TRIAL:g} GB"
    if free_gb < MEMORY_GB_PER_TRIAL:
        yield Finding("warning", "memory", detail, "close programs, or use another machine")
    else:
        yield Finding("ok", "memory", detail)


def storage(runs: Path) -> Iterator[Finding]:
    """Whether results can be written, locked, and have room."""
    from filelock import FileLock

    from results.store import Store

    try:
        Store(runs).check_writable()
        with FileLock(runs / ".doctor.lock", timeout=5):
            pass
    except OSError as error:  # filelock's Timeout is an OSError too
        fix = "choose a folder on a file system that can lock: --runs FOLDER"
        yield Finding("broken", "runs folder", str(error), fix)
        return
    free_gb = shutil.disk_usage(runs).free / 2**30
    detail = f"{runs.absolute()} can be written and locked; {free_gb:.1f} GB free"
    fix = "free some space, or choose another folder with --runs FOLDER"
    enough = free_gb >= DISK_GB
    yield Finding("ok" if enough else "warning", "runs folder", detail, "" if enough else fix)


def tracking(uri: str | None) -> Iterator[Finding]:
    """Whether the MLflow store answers."""
    from .publish import probe

    if uri is None:
        return
    try:
        probe(uri)
    except Exception as error:  # MLflow's clients raise many kinds
        fix = "start that server, or set `tracking: {mlflow: off}` in budgets.yaml"
        yield Finding("broken", "MLflow", f"{uri}: {error}", fix)
    else:
        yield Finding("ok", "MLflow", uri)
