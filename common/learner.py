"""What a training changes from epoch to epoch, and its way to the disk and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from common.checkpoints import load_training_state, restore, save_training_state
from common.distributed import ALONE, Distributed
from common.runs import check_same_run
from common.training import EarlyStopping


@dataclass(frozen=True)
class Learner:
    """A network that is being trained, with all that an exact resume restores.

    Args:
        network, optimizer, stopping: changed by every epoch.
        run: settings, seed and data as plain values; a state of another run is refused.
    """

    network: nn.Module
    optimizer: Optimizer
    stopping: EarlyStopping
    run: dict[str, Any]

    def start(self, path: Path, group: Distributed = ALONE, **counters: int) -> dict[str, Any]:
        """The state to train on from: that of the unfinished training at ``path``, which is taken
        up, or a new one with epoch 0, nothing in ``best``, and these ``counters``. Only rank 0
        reads the file.

        Raises :class:`UserError` for a damaged file, for a training of another run, and where the
        processes are not at the same run.
        """
        group.check_alike(self.run)
        state = group.from_main(lambda: load_training_state(path) if path.exists() else None)
        if state is None:
            return {"epoch": 0, "seconds": 0.0, "best": {}, **counters}
        check_same_run(state["run"], self.run, path)
        parts = {"network": self.network, "optimizer": self.optimizer, "stopping": self.stopping}
        restore(path, state, **parts)
        return state

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Write ``state`` with everything :meth:`start` needs, atomically."""
        parts = {
            "run": self.run,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stopping": self.stopping.state_dict(),
        }
        save_training_state(path, {**state, **parts})

    def tensors(self) -> dict[str, Tensor]:
        """A copy of the network's numbers, on the CPU."""
        return {name: value.cpu().clone() for name, value in self.network.state_dict().items()}
