"""The one untyped door: everything of MMAction2 and MMEngine that this project calls enters here.

Imports are lazy, so that reading a table or a `--help` costs nothing.
"""

from __future__ import annotations

import copy
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_DRN = "mmaction.models.localizers.drn"
_LOADS_BY_DEFAULT = {
    "ResNetTSM": "pretrained2d",
    "MobileNetV2TSM": "pretrained2d",
    "MobileOneTSM": "pretrained2d",
    "UniFormerV2": "clip_pretrained",
}
"""Backbones that load weights unless this key says no, even where `pretrained` is None."""

_PLAIN_NORM = {"Recognizer2D": "BN2d", "Recognizer3D": "BN3d"}


class _MissingDrn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves a stub for the folder that the mmaction2 1.2.0 wheel lacks.

    `mmaction.models` imports it unconditionally. The finder stands last in `sys.meta_path`, so a
    wheel that ships the folder wins; delete this class when one does.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in (_DRN, f"{_DRN}.drn"):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == _DRN)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == f"{_DRN}.drn":
            module.__dict__["DRN"] = type("DRN", (), {"__doc__": "Missing from the wheel."})


@lru_cache(maxsize=1)
def import_mmaction() -> None:
    """Import MMAction2 and make its names the default scope of MMEngine's registries."""
    sys.meta_path.append(_MissingDrn())
    with warnings.catch_warnings():
        # mmcv-lite has no compiled operators; no recognizer here needs one
        warnings.filterwarnings("ignore", "Fail to import", UserWarning)
        # another library's registries may be in use already
        warnings.filterwarnings("ignore", "The current default scope", UserWarning)
        # decorators and escapes inside MMEngine, MMCV and MMAction2 themselves
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=SyntaxWarning)
        from mmaction.utils import register_all_modules

        register_all_modules(init_default_scope=True)


def zoo_root() -> Path:
    """Return the folder of config files inside the installed mmaction2 wheel.

    Joined by hand because MMEngine's `mmaction::` form needs `pkg_resources`, which is gone from
    setuptools 81 and later.
    """
    spec = importlib.util.find_spec("mmaction")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("mmaction2 is not installed: pip install mmaction2")
    return Path(spec.submodule_search_locations[0]) / ".mim" / "configs"


def zoo_config(path: str | Path) -> dict[str, Any]:
    """Load an MMAction2 config file with its `_base_` files merged in.

    Args:
        path: Absolute, or relative to the wheel's folder of configs.

    Raises:
        ValueError: There is no such file.
    """
    from mmengine.config import Config

    file = zoo_root() / path
    if not file.is_file():
        raise ValueError(f"no MMAction2 config at {path} (looked for {file})")
    loaded: dict[str, Any] = Config.fromfile(file, import_custom_modules=False).to_dict()
    return loaded


def zoo_model(path: str | Path) -> dict[str, Any]:
    """Return the `model` of an MMAction2 config file, with nothing left to download.

    Raises:
        ValueError: There is no such file, or it has no `model`.
    """
    config = zoo_config(path)
    if "model" not in config:
        raise ValueError(f"the MMAction2 config {path} has no `model`")
    return without_downloads(config["model"])


def without_downloads(config: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a model config from which every pretrained weight is struck.

    Building is silent about such weights; MMEngine's `init_weights` would fetch them.
    """
    stripped: dict[str, Any] = _strip(config)
    return stripped


def _strip(node: Any) -> Any:
    if isinstance(node, dict):
        kept = {key: _strip(value) for key, value in node.items() if not _downloads(key, value)}
        switch = _LOADS_BY_DEFAULT.get(str(kept.get("type")))
        return kept | {switch: False} if switch else kept
    if isinstance(node, (list, tuple)):
        return type(node)(_strip(item) for item in node if not _is_pretrained_init(item))
    return copy.deepcopy(node)


def _downloads(key: str, value: Any) -> bool:
    if key == "pretrained":
        return bool(value)
    return key == "init_cfg" and _is_pretrained_init(value)


def _is_pretrained_init(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "Pretrained"


def build_recognizer(config: dict[str, Any]) -> nn.Module:
    """Build an MMAction2 recognizer from its `model` config, which is left as it was.

    Never downloads. Outside a distributed run, synchronised batch norms become plain ones, which
    compute the same there and also run on a CPU.
    """
    import_mmaction()
    from mmaction.registry import MODELS
    from mmengine.registry import DefaultScope

    config = without_downloads(config)
    if not _is_distributed():
        _replace_type(config, "SyncBN", _PLAIN_NORM.get(config.get("type", ""), "BN3d"))
    # a Runner of another scope may have run before in this process
    with DefaultScope.overwrite_default_scope("mmaction"):
        recognizer: nn.Module = MODELS.build(config)
    return recognizer


def _is_distributed() -> bool:
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()


def _replace_type(node: Any, old: str, new: str) -> None:
    if isinstance(node, dict):
        if node.get("type") == old:
            node["type"] = new
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            _replace_type(item, old, new)


def init_weights(recognizer: nn.Module) -> None:
    """Initialise a recognizer as MMAction2 does, without a log line for each parameter."""
    initialise: Any = recognizer.init_weights
    with quiet_logging():
        initialise()


@contextmanager
def quiet_logging(level: int = logging.ERROR) -> Iterator[None]:
    """Silence MMEngine's current logger below `level`."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
