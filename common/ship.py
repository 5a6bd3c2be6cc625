"""Copy the network of a run into ``checkpoints/``, where the shipped networks lie.

    python -m common.ship runs/gust/shapes_3 [--name shapes_3_long]

For maintainers. The scores of the network that is there and of the new one are shown; git keeps the
old one. Shipped files are small: weights in float16 in place of float32, deflated, and one bit for
a binary weight.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from common.arguments import Parser
from common.checkpoints import NETWORK, Checkpoint, load_checkpoint, save_checkpoint
from common.errors import UserError, command_line
from common.paths import CHECKPOINTS, ROOT, RUNS
from common.runs import scores_in_words

_BINARY = re.compile(r"(convolutions|linears)\.\d+\.weight")


def write_compact(checkpoint: Checkpoint, target: Path) -> None:
    """Write a checkpoint with matrices of real weights in float16 and the signs of binary weights
    alone; biases and the like are few and stay as they are."""
    settings = checkpoint.metadata["settings"]
    binary = checkpoint.metadata["model"] == "snn_tha" and settings["network"]["binarize"]
    tensors = checkpoint.tensors
    signs = {name for name in tensors if binary and _BINARY.fullmatch(name)}
    halves = {name for name, x in tensors.items() if x.is_floating_point() and x.dim() > 1} - signs
    save_checkpoint(target, tensors, checkpoint.metadata, signs, halves)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="python -m common.ship", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, such as runs/gust/shapes_3")
    parser.add_argument("--name", help="of the shipped network (default: that of the run)")
    args = parser.parse_args(argv)
    found = [base / args.run / NETWORK for base in (Path(), ROOT, RUNS)]
    path = next((path for path in found if path.exists()), None)
    if path is None:
        raise UserError(
            f"{args.run} has no {NETWORK}; finish its training, or write what it has so far by "
            "repeating its command with --snapshot"
        )
    new = load_checkpoint(path)
    name = args.name or path.resolve().parent.name
    if Path(name).name != name:
        raise UserError(f"--name {name}: give a name without folders")
    target = CHECKPOINTS / new.metadata["model"] / f"{name}.safetensors"
    if target.exists():
        print(f"old: {scores_in_words(load_checkpoint(target).metadata)}")
    print(f"new: {scores_in_words(new.metadata)}")
    write_compact(new, target)
    print(f"{target} is the network of {path}")


if __name__ == "__main__":
    sys.exit(main())
