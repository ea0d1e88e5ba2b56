"""One of several processes that train an adaptive recognizer together: a script for its test.

Usage: python -m tests.registry.distributed_worker RANK WORLD_SIZE FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import distributed

from registry._mmaction import import_mmaction
from tests.registry.test_vared_mmengine import FRAMES, SIZE, run_config, tsm_config


def main(rank: int, world_size: int, folder: Path) -> None:
    """Train two epochs, and leave the state dict as this process sees it."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    store = f"file://{folder / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size)
    import_mmaction()
    from mmengine.runner import Runner

    import registry.vared.plugin  # noqa: F401  (registers what the config names)

    model = tsm_config() | {
        "type": "AdaptiveRecognizer2D",
        "vared": {"num_frames": FRAMES, "size": SIZE, "gate_norm": "running"},
    }
    config = run_config(model, folder / "run", epochs=3)
    del config["custom_imports"]
    # while gates are forced full they get no gradient; and a processor has no device number
    wrapper = {"find_unused_parameters": True, "broadcast_buffers": False, "device_ids": None}
    runner = Runner(**config, launcher="pytorch", cfg={"model_wrapper_cfg": wrapper})
    runner.train()
    torch.save(runner.model.module.state_dict(), folder / f"{rank}.pth")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
