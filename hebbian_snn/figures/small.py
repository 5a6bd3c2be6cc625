"""Small networks for the notebooks, trained in seconds on embedded data by the usual commands.

They stand in where no network of a task is shipped, or where the data that it was trained on are
not there. They show how things work, not how well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.paths import RESULTS, ROOT
from common.records import Record
from common.results import load_or_run, run_quietly
from hebbian_snn import (
    cross_modal_associations_task,
    omniglot_one_shot_task,
    pretrain_digit_classifier,
    pretrain_protonet,
    question_answering_task,
    reinforcement_learning_task,
)

Results = tuple[Record, dict[str, np.ndarray]]

FOLDER = RESULTS / "hebbian_small"


@dataclass(frozen=True)
class Small:
    """One small network.

    Attributes:
        name: of its file, among those of its task. main: command that trains it.
        flags: of the command; ``{folder}`` is where the files of the task lie.
    """

    name: str
    main: Callable[..., int]
    flags: str

    def train(self, folder: Path) -> Path:
        """The file in a folder, which is made where it is not there."""
        path = folder / f"{self.name}.safetensors"
        if not path.exists():
            flags = [word.format(folder=folder) for word in self.flags.split()]
            own = ["--device", "cpu", "--out", str(path), "--partial", str(folder)]
            run_quietly(self.main, [*flags, *own])
        return path


_BABI = "--data embedded --task 1 --ten_k 0 --batch_size 50"
_OMNIGLOT = """--data embedded --channels 16 --freeze_protonet --learn_if_thresholds 0
    --if_thresholds 0.5 1.7 1.4 1.1
    --protonet_checkpoint_path {folder}/protonet.safetensors --num_classes 2 --num_time_steps 40
    --thr 0.03 --embedding_size 40 --memory_size 60 --batch_size 32 --validation_size 100
    --test_size 200"""
_CROSS_MODAL = """--data embedded --channels 12 --freeze_protonet --threshold_images 200
    --audio_protonet_path {folder}/digits_audio.safetensors
    --image_protonet_path {folder}/digits_image.safetensors --sequence_length 2 --num_time_steps 40
    --thr 0.02 --memory_size 40 --batch_size 32 --validation_size 64 --test_size 200"""
_CLASSIFIER = "--data embedded --channels 12 --batch_size 32 --learning_rate 0.002 --epochs 6"

SMALL: dict[str, tuple[Small, ...]] = {
    "babi": (
        Small(
            "babi_1_1k_delay_10_embedded",
            question_answering_task.main,
            f"{_BABI} --sentence_duration 20 --readout_delay 10 --learning_rate 0.005 --epochs 4",
        ),
    ),
    "concentration": (
        Small(
            "concentration_relu_2",
            reinforcement_learning_task.main,
            """--relu --values_relu 1 --num_cells 2 --embedding_size 30 --memory_size 30
            --hidden_size 30 --num_env_steps 10240 --ppo_batches 4 --learning_rate 0.003
            --print_freq 1 --evaluation_games 200""",
        ),
    ),
    "omniglot": (
        Small(
            "protonet",
            pretrain_protonet.main,
            """--data embedded --channels 16 --way 20 --iterations 60 --validation_size 20
            --test_size 50 --epochs 1""",
        ),
        Small(
            "omniglot_frozen_embedded",
            omniglot_one_shot_task.main,
            f"{_OMNIGLOT} --iterations 40 --epochs 1 --learning_rate 0.002",
        ),
        Small(
            "omniglot_relu_frozen_embedded",
            omniglot_one_shot_task.main,
            f"""{_OMNIGLOT} --relu --iterations 150 --epochs 3 --learning_rate 0.0005
            --use_pretrained_protonet 1 --use_batch_norm 0 --values_relu 1 --curriculum 0.8""",
        ),
    ),
    "cross_modal": (
        Small("digits_image", pretrain_digit_classifier.main, _CLASSIFIER),
        Small("digits_audio", pretrain_digit_classifier.main, f"{_CLASSIFIER} --audio"),
        Small(
            "cross_modal_frozen_embedded",
            cross_modal_associations_task.main,
            f"{_CROSS_MODAL} --dataset_size 480 --epochs 2 --learning_rate 0.003",
        ),
    ),
}
"""The networks of every task, in the order in which they are needed."""


def small_networks(task: str, folder: Path = FOLDER) -> dict[str, Path]:
    """The files of a task's small networks by name; trained where they are not there."""
    return {small.name: small.train(folder / task) for small in SMALL[task]}


def load_or_small(
    main: Callable[..., int],
    out: Path,
    task: str,
    flags: Callable[[Mapping[str, Path]], Sequence[str]],
) -> Results:
    """Results of a figure's command, made now where there are none, and a line that says of which
    networks: the shipped ones, or where those cannot be had the small ones.

    Args:
        main: the command. out: folder of its results.
        task: in :data:`SMALL`. flags: that show these small networks in place of the shipped ones.
    """
    try:
        found = load_or_run(main, out)
        print("Networks shown: those in checkpoints/hebbian_snn.")
    except UserError as error:
        given = flags(small_networks(task))
        found = load_or_run(lambda argv: main([*argv, *given]), FOLDER / out.name)
        print(
            "Networks shown: small ones, trained now for a few seconds on embedded data, because\n"
            + str(error).replace(f"{ROOT}{os.sep}", "")
        )
    return found
