"""The environment variables that a worker sees."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

_OF_AN_ALLOCATION = re.compile(r"(SLURMD?|SBATCH|PMI[A-Z0-9]*)_")
_SITE_SETTINGS = frozenset({"SLURM_CONF"})
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a copy without what SLURM and MPI tell the processes of one allocation.

    A worker that inherits them takes itself for rank 0 of its parent's job, or submits with its
    parent's settings. SLURM_CONF stays: without it the commands do not find the cluster.
    """
    return {
        name: value
        for name, value in environ.items()
        if name in _SITE_SETTINGS or not _OF_AN_ALLOCATION.match(name)
    }


def thread_limits(cpus: int) -> dict[str, str]:
    """Return the variables that hold numerical libraries to `cpus` threads.

    Libraries read them when they are loaded; later changes have no effect.
    """
    return dict.fromkeys(_THREAD_VARIABLES, str(cpus))


@contextmanager
def for_workers(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Within the block, `environ` (usually os.environ) is what a daemon of workers should inherit.

    That is the clean environment without thread limits: limits differ from call to call, and a
    library that a worker loads before its call has begun would stick to the inherited ones.
    """
    kept = clean_environment(environ)
    withheld = {
        name: value
        for name, value in environ.items()
        if name not in kept or name in _THREAD_VARIABLES
    }
    for name in withheld:
        del environ[name]
    try:
        yield
    finally:
        environ.update(withheld)


def enter_worker(environ: MutableMapping[str, str], cpus: int) -> None:
    """Change `environ`, usually os.environ, in place to what a call on `cpus` cores should see."""
    for name in environ.keys() - clean_environment(environ).keys():
        del environ[name]
    environ.update(thread_limits(cpus))


def import_path() -> str:
    """Return where this process imports from, beyond its own installation, as PYTHONPATH."""
    installed = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    folders = [Path(entry).resolve() for entry in sys.path]  # "" stands for the working directory
    project = [f for f in folders if f.is_dir() and not installed & {f, *f.parents}]
    return os.pathsep.join(map(str, dict.fromkeys(project)))
