"""Every package on the pretended GPU: a training that is interrupted and taken up again, an
evaluation and a figure; and how often a step waits for the GPU or copies to it."""

import importlib.util
import json
import subprocess
import sys

import pytest

from common.paths import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="the kernels are Triton's"
)

NETWORK = "--embedding_size 12 --memory_size 14"
ASSOCIATIONS = (
    f"hebbian_snn.memorizing_associations_task {NETWORK} --sequence_length 2 --num_classes 2 "
    "--training_size 32 --validation_size 8 --test_size 8 --num_time_steps 20 --epochs 2 "
    "--batch_size 8 --out OUT/associations_2.safetensors"
)
STORIES = (
    f"hebbian_snn.question_answering_task {NETWORK} --data embedded --task 1 --ten_k 0 --epochs 2 "
    "--sentence_duration 10 --readout_delay 3 --batch_size 128 --out OUT/babi.safetensors"
)
GAMES = (
    "hebbian_snn.reinforcement_learning_task --num_cells 4 --num_time_steps 6 --embedding_size 8 "
    "--memory_size 9 --hidden_size 6 --num_envs 4 --num_steps 20 --num_env_steps 320 "
    "--ppo_batches 2 --ppo_epochs 2 --evaluation_games 4 --max_flips 6 --print_freq 2 "
    "--out OUT/games.safetensors"
)
BINDING = (
    "gust.train --train_objects 3 --images 40 --epochs 2 --batch_size 10 --encoder_widths 32 20 "
    "--decoder_widths 20 32 --score_images 4 --settle 3 --out OUT/gust.safetensors"
)
ANNEALING = (
    "snn_tha.run --dataset mnist --data embedded --epochs 2 --train_samples 33 --test_samples 8 "
    "--batch_size 8 --steps 6 --test_steps 6 --out OUT/tha.safetensors --log_folder OUT/logs"
)
SHAPES = (
    "dasbe.train --dataset shapes --images 60 --epochs 2 --batch_size 16 --encoder_widths 32 20 "
    "--decoder_widths 20 32 --out OUT/dasbe.safetensors"
)

CASES = {
    "associations": [
        f"{ASSOCIATIONS} --interrupted",
        ASSOCIATIONS,
        f"{ASSOCIATIONS} --evaluate 1",
        "hebbian_snn.figures.associations --networks OUT/associations_2.safetensors",
    ],
    "stories": [f"{STORIES} --interrupted", STORIES, f"{STORIES} --evaluate 1"],
    "games": [f"{GAMES} --interrupted", GAMES, f"{GAMES} --evaluate 1"],
    "gust": [
        f"{BINDING} --interrupted",
        BINDING,
        "gust.evaluation --networks OUT/gust.safetensors --images 2",
    ],
    "snn_tha": [f"{ANNEALING} --interrupted", ANNEALING],
    "dasbe": [
        f"{SHAPES} --interrupted",
        SHAPES,
        "dasbe.figures.table1 --datasets shapes --methods DASBE --seeds 1 --images 2",
    ],
}

STEPS = {"associations": 4, "stories": 8, "gust": 4, "snn_tha": 4, "dasbe": 4}
"""Steps of the optimizer in an epoch, at least."""

WAITS = {"associations": 1, "stories": 1, "gust": 0, "snn_tha": 0, "dasbe": 0}
"""Of a training step; the bound is 2. Associations wait for their curriculum, stories for where
their questions are."""


def commands(name, folder):
    """The command line of the pretended GPU for a case."""
    words = []
    for command in CASES[name]:
        is_figure = ".figures." in command or command.startswith("gust.evaluation")
        more = f"--out {folder}/figure" if is_figure else f"--partial {folder}"
        words += ["--then", *command.replace("OUT", str(folder)).split(), "--device", "cuda"]
        words += more.split()
    return words[1:]


def run(words):
    """What the commands say that they did, one after the other."""
    command = [sys.executable, "tests/pretended_gpu.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize("name", CASES)
def test_a_package_runs_on_a_gpu_and_its_steps_do_not_wait(name, tmp_path):
    found, said = run(commands(name, tmp_path))
    assert [x["status"] for x in found] == [130, *[0] * (len(found) - 1)], said[-3000:]
    trained = found[1]
    assert name == "dasbe" or trained["launches"], "no kernel was started"
    if name == "games":
        # 3 updates of 20 actions in each of 4 games, 4 steps of the optimizer each; the first has
        # the games dealt, too. A step replays the games, and looks once where they ended.
        per_update = [trained["steps"][k : k + 4] for k in range(4, len(trained["steps"]), 4)]
        for first, *others in per_update:
            assert first[0] <= 2 * 20 and first[1] <= 2 * 20
            assert all(waits <= 2 for waits, _ in others)
        return
    inside = [trained["steps"][k] for k in range(1, STEPS[name])]
    assert all(waits <= WAITS[name] for waits, _ in inside), (inside, trained["waits"])
    # The batch itself, from pinned memory.
    assert all(copies <= 5 for _, copies in inside), (inside, trained["copies"])
