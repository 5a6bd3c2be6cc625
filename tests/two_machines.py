"""One process of a training whose processes each have a folder of their own, as on two machines
without a shared file system. Run as a script: rank, number of saves until it is killed (0: never),
and the module with its flags."""

import importlib
import os
import sys


def kill_after(saves: int) -> None:
    """Die, as after ``kill -9``, once the training state has been saved so many times."""
    from common import checkpoints, learner
    from hebbian_snn.training import loop as supervised

    save, count = checkpoints.save_training_state, 0

    def saved(path, state):
        nonlocal count
        save(path, state)
        count += 1
        if count == saves:
            os._exit(9)

    for module in (learner, supervised):
        module.save_training_state = saved


if __name__ == "__main__":
    saves, module, *flags = sys.argv[1:]
    if int(saves):
        kill_after(int(saves))
    sys.exit(importlib.import_module(module).main(flags))
