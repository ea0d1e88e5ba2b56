"""What a figure depends on beside the trial: versions, processor, threads."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from registry.bench.machine import processor

PACKAGES = ("torch", "mmengine", "mmcv-lite", "mmaction2", "numpy", "numba", "vared-harness")


def environment() -> dict[str, str]:
    """Return versions, processor and threads: what a figure depends on beside the trial."""
    facts = {name: _version(name) for name in PACKAGES}
    return facts | {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": str(torch.get_num_threads()),
        "cores": str(os.cpu_count()),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout on the path needs no installation
        return "not installed"
