"""Every flag of the original scripts is known, and means what it meant."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys

import pytest
import torch
from hebbian_runs import environment, free_url
from torch import nn

from common.checkpoints import load_checkpoint
from common.paths import CHECKPOINTS
from common.settings import from_dict
from common.training import generator
from hebbian_snn import (
    plot_memorizing_associations_task,
    pretrain_digit_classifier,
    pretrain_protonet,
    reinforcement_learning_task,
)
from hebbian_snn.config import task_settings
from hebbian_snn.convnets.encoders import BatchNorm, ConvolutionalEncoder
from hebbian_snn.reinforcement.task import ConcentrationTask, ReinforcementSettings
from hebbian_snn.tasks.associations import AssociationsTask
from hebbian_snn.tasks.cross_modal import CrossModalSettings, CrossModalTask
from hebbian_snn.tasks.omniglot import OmniglotSettings, OmniglotTask
from hebbian_snn.tasks.question_answering import QuestionAnsweringTask
from hebbian_snn.training.command import task_parser
from hebbian_snn.training.trained import check_parameters, load_network

MODEL = """num_time_steps embedding_size memory_size w_max gamma_pos gamma_neg tau_trace
    readout_delay thr perfect_reset refractory_time_steps tau_mem dampening_factor"""
SHARED = f"""{MODEL} workers prefetch_factor epochs batch_size learning_rate learning_rate_decay
    decay_learning_rate_every max_grad_norm l2 target_rate start_epoch resume check_params evaluate
    logging print_freq world_size rank dist_url dist_backend seed gpu multiprocessing_distributed"""
FLAGS = {
    AssociationsTask: f"{SHARED} sequence_length num_classes feature_size inf_data dataset_seed",
    OmniglotTask: f"""{SHARED} iterations pin_data_to_memory use_pretrained_protonet
        protonet_checkpoint_path freeze_protonet learn_if_thresholds fix_cnn_thresholds
        sampler_seed dir""",
    CrossModalTask: f"""{SHARED} sequence_length train_classes test_classes dataset_size num_mfcc
        num_mfcc_time_samples image_protonet_path audio_protonet_path data_seed dir
        pin_data_to_memory use_pretrained_protonet freeze_protonet learn_if_thresholds
        fix_cnn_thresholds""",
    QuestionAnsweringTask: f"""{SHARED.replace("num_time_steps ", "")} task ten_k add_time_words
        mask_time_words learn_encoding sentence_duration max_num_sentences padding
        learn_readout_delay dataset_seed dir pin_data_to_memory""",
}
REINFORCEMENT = f"""{MODEL} num_envs num_cells card_shape resample_cards match_reward flip_penalty
    learning_rate adam_eps max_grad_norm num_env_steps num_steps decay_lr_linearly discount_factor
    ppo_clip_param ppo_batches ppo_epochs value_coefficient entropy_coefficient start_update cuda
    env_seed learning_rate_decay decay_learning_rate_every use_rms_prop rms_prop_eps rms_prop_alpha
    normalize_advantage use_smooth_l1_loss resume check_params evaluate logging print_freq seed"""
PROTONET = """lr_scheduler_step lr_scheduler_gamma classes_per_iteration_train
    classes_per_iteration_val num_samples_support_train num_samples_support_val
    num_samples_query_train num_samples_query_val use_batch_norm checkpoint_path sampler_seed dir"""


@pytest.mark.parametrize("task_type", FLAGS, ids=lambda task_type: task_type.name)
def test_task_scripts(task_type: type) -> None:
    known = task_parser(task_type, None)._option_string_actions
    assert [name for name in FLAGS[task_type].split() if f"--{name}" not in known] == []


def test_reinforcement() -> None:
    known = reinforcement_learning_task.policy_parser()._option_string_actions
    assert [name for name in REINFORCEMENT.split() if f"--{name}" not in known] == []


@pytest.mark.parametrize(
    ("script", "names"),
    [
        (pretrain_protonet, PROTONET),
        (pretrain_digit_classifier, "use_batch_norm dir data_seed"),
        (plot_memorizing_associations_task, f"{MODEL} checkpoint_path check_params seed example"),
    ],
)
def test_other_scripts(script: object, names: str) -> None:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        script.main(["--help"])
    known = set(re.findall(r"--(\w+)", text.getvalue()))
    assert set(names.split()) - known == set()


# ---- what they mean ---------------------------------------------------------------------------


def test_other_names_of_a_flag_must_agree(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--num_samples_support_train", "2", "--num_samples_support_val", "3"]
    assert pretrain_protonet.main(flags) == 1
    assert "--num_samples_support_val 3 and --shot 2 are the same" in capsys.readouterr().err


def test_a_flip_penalty_is_added_to_the_reward() -> None:
    """Also by networks that were trained when it was subtracted."""
    settings = task_settings(ReinforcementSettings, "reinforcement_learning", False, {})
    assert settings.game.flip_penalty == settings.game.rules().flip_penalty == -0.5
    shipped = load_network(ConcentrationTask, "concentration_4")
    assert shipped.checkpoint.metadata["settings"]["game"]["flip_penalty"] == 0.5
    assert shipped.task.settings.game == settings.game


def test_a_positive_flip_penalty_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--flip_penalty", "0.5", "--evaluate", "--resume", "missing.safetensors"]
    assert reinforcement_learning_task.main([*flags, "--use_rms_prop"]) == 1
    said = capsys.readouterr().out
    assert "warning: --flip_penalty 0.5 is added to the reward, so it rewards every flip" in said
    assert "--use_rms_prop has no effect" in said


def test_the_rate_of_ppo_decays() -> None:
    flags = {"training": {"learning_rate_decay": 0.5, "decay_learning_rate_every": 10}}
    settings = task_settings(ReinforcementSettings, "reinforcement_learning", False, flags)
    rate, updates = settings.training.learning_rate_of, settings.training.updates
    assert rate(9) == pytest.approx(3e-4 * (1 - 9 / updates))
    assert rate(25) == pytest.approx(3e-4 / 4 * (1 - 25 / updates))


@pytest.mark.parametrize("name", ["omniglot_relu_frozen", "cross_modal_relu_frozen"])
def test_shipped_relu_networks_keep_how_they_were_trained(name: str) -> None:
    task_type = OmniglotTask if name.startswith("omniglot") else CrossModalTask
    metadata = load_checkpoint(CHECKPOINTS / "hebbian_snn" / f"{name}.safetensors").metadata
    settings = from_dict(task_type.settings_type, metadata["settings"])
    assert settings.network.values_relu and settings.cnn.use_pretrained_protonet
    assert not settings.cnn.use_batch_norm
    if task_type is CrossModalTask:
        assert settings.dataset.fixed_episodes and settings.dataset.test_pairing == "any"
        assert not settings.decoder.decoder_bias and not settings.decoder.decoder_sigmoid
    fresh = task_settings(OmniglotSettings, "omniglot", True, {})
    assert not fresh.network.values_relu and fresh.cnn.use_batch_norm
    assert fresh.training.curriculum is None and not fresh.cnn.use_pretrained_protonet


def test_the_shipped_network_is_tested_with_the_flags_of_today() -> None:
    """How its training episodes were drawn does not matter to a test."""
    overrides = {"cnn": {"freeze_protonet": True}}
    task = CrossModalTask(task_settings(CrossModalSettings, "cross_modal", False, overrides), 0)
    path = CHECKPOINTS / "hebbian_snn" / "cross_modal_frozen.safetensors"
    check_parameters(task, load_checkpoint(path), evaluating=True)


def test_batch_normalisation_is_pytorchs() -> None:
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    maps = torch.randn(5, 3, 4, 6, generator=generator(0), requires_grad=True)
    other = maps.detach().clone().requires_grad_()
    pull = torch.randn(5, 3, 4, 6, generator=generator(1))
    for x, layer in ((maps, ours), (other, theirs)):
        (layer(x) * pull).sum().backward()
    torch.testing.assert_close(maps.grad, other.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.eval()(maps), theirs.eval()(other))
    encoder = ConvolutionalEncoder(4, generator(0), batch_norm=True)
    assert encoder(torch.rand(2, 28, 28)).shape == (2, 4)


PARTS = """
import sys, torch, torch.distributed as dist
from common.distributed import Distributed
from hebbian_snn.convnets.encoders import BatchNorm
rank, world_size, url = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=url, rank=rank, world_size=world_size)
group = Distributed(rank, world_size, torch.device("cpu"))
maps = torch.randn(5, 3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
pull = torch.randn(5, 3, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
scale = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
layer, part = BatchNorm(3).double(), group.local_slice(5)
module = torch.nn.ParameterList([scale, *layer.parameters()])
(layer(maps[part] * scale.exp() + maps[part].square() * scale**3) * pull[part]).mean().backward()
group.average_gradients(module, weight=len(maps[part]))
if rank == 0:
    print([p.grad.tolist() for p in module], layer.running_var.tolist())
"""


def test_statistics_of_a_batch_are_those_of_all_processes() -> None:
    """Shares of 2 and 3 samples give the gradients of all 5."""
    found = []
    for world_size in (1, 2):
        url = free_url()
        jobs = [
            subprocess.Popen(
                [sys.executable, "-c", PARTS, str(rank), str(world_size), url],
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
            )
            for rank in range(world_size)
        ]
        found.append(jobs[0].communicate(timeout=120)[0])
        assert [job.wait(timeout=120) for job in jobs] == [0] * world_size
    numbers = [[float(word) for word in re.findall(r"-?\d+\.[\de-]+", text)] for text in found]
    assert len(numbers[0]) == 10 and abs(numbers[0][0]) > 1e-3
    torch.testing.assert_close(*map(torch.tensor, numbers), rtol=1e-5, atol=1e-8)
