"""The training loop of the supervised tasks, in one process or several.

The loss of a batch is the mean of its samples' losses and, from some epoch on, ``l2`` times the
penalty of the firing rates. Every process takes its part of the global batch; mean rates and
gradients are those of the global batch, so any number of processes takes the same steps. A batch is
a function of (seed, epoch, samples), and the state after every epoch is on disk: a killed training
goes on exactly where it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.checkpoints import restore, save_training_state
from common.distributed import Distributed
from common.runs import RunFiles
from common.settings import to_dict
from common.training import MetricLog, check_finite, generator, progress
from hebbian_snn.kernels.checks import check_noted
from hebbian_snn.memory import share_keys
from hebbian_snn.rates import rate_penalty
from hebbian_snn.training.curriculum import Curriculum
from hebbian_snn.training.task import SupervisedTask

CHECK_EVERY = {"cpu": 1, "cuda": 50}
"""Steps from one look at whether all numbers are finite to the next; a GPU waits for each."""


@dataclass(frozen=True)
class Reporting:
    """What is said besides the log: a line every so many steps (0: none), TensorBoard events."""

    print_freq: int = 0
    events: Any = None


class Totals:
    """Sums over samples: losses, scores and the rates of the recorded layers, in Hz."""

    def __init__(self, task: SupervisedTask) -> None:
        self.task = task
        self.names: tuple[str, ...] = ()
        self.sums: Tensor | None = None

    def add(self, losses: Tensor, scores: Tensor, rates: Mapping[str, Tensor]) -> None:
        """Take up the samples of a batch: (B,) losses and scores, (B, N) rates of the layers."""
        self.names = tuple(rates)
        layers = [layer.mean(1).sum() for layer in rates.values()]
        count = torch.full_like(losses.sum(), len(losses))
        found = torch.stack([count, losses.sum(), scores.sum(), *layers]).detach().double()
        self.sums = found if self.sums is None else self.sums + found

    def means(self, group: Distributed) -> dict[str, Any]:
        """Means over the samples of all processes."""
        assert self.sums is not None, "there are no samples"
        sums = group.all_reduce_sum(self.sums).tolist()
        count, loss, score, *layers = sums
        means: dict[str, Any] = {
            self.task.loss_name: loss / count,
            self.task.score_name: score / count,
        }
        if layers:
            rates = zip(self.names, layers, strict=True)
            means["rates"] = {name: total / count for name, total in rates}
        return means


class Trainer:
    """What an epoch does.

    Args:
        task: with settings and data. network: of the task, on the device of the group.
        group: the processes that train together.
        curriculum: state of a training's curriculum to go on from.
    """

    def __init__(
        self,
        task: SupervisedTask,
        network: nn.Module,
        group: Distributed,
        curriculum: dict[str, Any] | None = None,
    ) -> None:
        self.task, self.network, self.group = task, network, group
        self.training = task.settings.training
        self.curriculum = None
        if task.pairs is not None:
            self.curriculum = Curriculum(
                self.training.curriculum, task.pairs, task.higher_is_better, curriculum
            )

    def train_epoch(
        self, optimizer: torch.optim.Optimizer, epoch: int, reporting: Reporting = Reporting()
    ) -> dict[str, Any]:
        """Epoch number ``epoch`` (from 0); returns the means of its samples and steps."""
        self.network.train()
        totals, steps = Totals(self.task), []
        batches = self.task.batches("train", epoch)
        bar = progress(batches, desc=f"epoch {epoch + 1}", shown=self.group.is_main)
        every = CHECK_EVERY[self.group.device.type]
        for number, samples in enumerate(bar):
            steps.append(self.step(optimizer, epoch, samples, totals))
            if (number + 1) % every == 0:
                check_steps(steps[-every:])
            if reporting.print_freq and (number + 1) % reporting.print_freq == 0:
                means = totals.means(self.group)
                if self.group.is_main:
                    bar.write(f"  step {number + 1} of {len(batches)}: {in_words(means)}")
        rate_terms, norms = check_steps(steps).T.tolist()
        means = totals.means(self.group)
        check_finite(means[self.task.loss_name], "the training loss")
        rate_term = sum(rate_terms) / len(rate_terms)
        return {
            "loss": means[self.task.loss_name] + rate_term,
            **means,
            **({} if self.curriculum is None else {"pairs": self.curriculum.pairs}),
            "rate_term": rate_term,
            "gradient_norm": sum(norms) / len(norms),
            "largest_gradient_norm": max(norms),
        }

    def step(
        self, optimizer: torch.optim.Optimizer, epoch: int, samples: range, totals: Totals
    ) -> Tensor:
        """One step of the optimiser; returns (2,) the term of the rates, and the gradient's norm
        before it is shortened."""
        task, group, training = self.task, self.group, self.training
        part = group.local_slice(len(samples))
        fewer = {} if self.curriculum is None else {"pairs": self.curriculum.pairs}
        inputs, targets = task.batch("train", epoch, samples, part, **fewer).to(group.device)
        outputs, rates = self.network(*inputs)
        losses = task.losses(outputs, targets)
        loss = losses.sum() / max(len(losses), 1)
        rate_term = loss.new_zeros(())
        if rates and epoch >= task.first_epoch_with_rates:
            penalty = rate_penalty(list(rates.values()), training.target_rate, group)
            rate_term = training.l2 * penalty
        optimizer.zero_grad()
        (loss + rate_term).backward()
        group.average_gradients(self.network, weight=len(losses))
        longest = training.max_grad_norm if training.max_grad_norm > 0 else torch.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), longest)
        optimizer.step()
        scores = task.scores(outputs, targets)
        totals.add(losses, scores, rates)
        if self.curriculum is not None and not self.curriculum.complete:
            sums = torch.stack([scores.sum(), torch.full_like(scores.sum(), len(scores))])
            score, count = group.all_reduce_sum(sums).tolist()
            self.curriculum.add(score / count)
        return torch.stack([rate_term, norm.to(rate_term.dtype)]).detach()

    @torch.no_grad()
    def evaluate(self, split: str) -> dict[str, Any]:
        """Mean loss, score and rates of ``validation`` or ``test``."""
        self.network.eval()
        totals = Totals(self.task)
        for samples in self.task.batches(split):
            part = self.group.local_slice(len(samples))
            inputs, targets = self.task.batch(split, 0, samples, part).to(self.group.device)
            outputs, rates = self.network(*inputs)
            totals.add(
                self.task.losses(outputs, targets), self.task.scores(outputs, targets), rates
            )
        check_noted()
        return totals.means(self.group)


def check_steps(steps: Sequence[Tensor]) -> Tensor:
    """What :meth:`Trainer.step` returned, (steps, 2), on the CPU.

    Raises :class:`UserError` where currents or gradients were not finite.
    """
    found = torch.stack(list(steps)).double().cpu()
    check_noted()
    for norm in found[:, 1].tolist():
        check_finite(norm, "the gradient")
    return found


def new_state(task: SupervisedTask, start_epoch: int = 0) -> dict[str, Any]:
    """The state of a training that begins; see :func:`train`."""
    return {
        "run": run_summary(task),
        "epoch": start_epoch,
        "seconds": 0.0,
        "curve": [],
        "best": {},
        "curriculum": None,
        "network": None,
        "optimizer": None,
    }


def run_summary(task: SupervisedTask) -> dict[str, Any]:
    """What must not change when a training goes on."""
    return {**to_dict(task.settings), "seed": task.seed, "data": about_data(task)}


def about_data(task: SupervisedTask) -> dict[str, Any]:
    """What files of a training say of its data."""
    return {"task": task.name, **task.data_summary()}


def train(
    task: SupervisedTask,
    group: Distributed,
    state: dict[str, Any],
    files: RunFiles,
    backend: str = "auto",
    reporting: Reporting = Reporting(),
) -> dict[str, Any]:
    """Train from a state to the end.

    Args:
        task: what is learned. group: the processes. backend: of the kernels.
        state: new, or as it was read from ``files.state`` or another such file.
        files: where state and log are written after every epoch.
        reporting: what else is said.

    Returns:
        the state, whose ``best`` holds the tensors of the network with the best validation and its
        test results.
    """
    training = task.settings.training
    network = task.build(generator(task.seed, "start"), backend).to(group.device)
    wanted = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(wanted, training.learning_rate)
    if state["network"] is not None:
        restore(files.state, state, network=network, optimizer=optimizer)
    elif task.pairs is not None and training.key_gain is not None:
        share_keys(network.memory, training.key_gain)
    trainer = Trainer(task, network, group, state["curriculum"])
    log = _log_of(state, files) if group.is_main else None
    while state["epoch"] < training.epochs and not should_stop(task, state["curve"]):
        began = time.perf_counter()
        rate = training.learning_rate_in(state["epoch"])
        optimizer.param_groups[0]["lr"] = rate
        line = trainer.train_epoch(optimizer, state["epoch"], reporting)
        found = trainer.evaluate("validation")
        line |= {f"validation_{name}": value for name, value in found.items()}
        line |= {"learning_rate": rate, "seconds": time.perf_counter() - began}
        state["epoch"] += 1
        state["seconds"] += line["seconds"]
        state["curve"].append({"epoch": state["epoch"], **line})
        state["curriculum"] = trainer.curriculum and trainer.curriculum.state()
        _keep_best(task, state, found, network)
        state |= {"network": copy_of(network), "optimizer": optimizer.state_dict()}
        if group.is_main:
            log.write(state["epoch"], **line)
            save_training_state(files.state, state)
            _report(state, training.epochs, reporting)
    if state["best"]:
        network.load_state_dict(state["best"]["tensors"])
        state["best"]["test"] = trainer.evaluate("test")
    return state


def should_stop(task: SupervisedTask, curve: list[dict[str, Any]]) -> bool:
    """Whether the last epochs have all scored what ``stop_score`` asks for."""
    training = task.settings.training
    if training.stop_score is None or len(curve) < training.stop_epochs:
        return False
    last = [line[f"validation_{task.score_name}"] for line in curve[-training.stop_epochs :]]
    if task.higher_is_better:
        return min(last) >= training.stop_score
    return max(last) <= training.stop_score


def _keep_best(
    task: SupervisedTask, state: dict[str, Any], found: dict[str, Any], network: nn.Module
) -> None:
    sign = 1 if task.higher_is_better else -1
    score, before = found[task.score_name], state["best"].get("validation")
    if before is None or sign * score > sign * before[task.score_name]:
        best = {"epoch": state["epoch"], "validation": found, "tensors": copy_of(network)}
        state["best"] = best


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's numbers as they are now, on the CPU."""
    return {name: x.detach().cpu().clone() for name, x in network.state_dict().items()}


def _log_of(state: dict[str, Any], files: RunFiles) -> MetricLog:
    """The log with the lines of a state."""
    log = MetricLog(files.log)
    for line in state["curve"]:
        log.write(**line)
    return log


def _report(state: dict[str, Any], epochs: int, reporting: Reporting) -> None:
    """Say what an epoch brought."""
    line = state["curve"][-1]
    left = (epochs - state["epoch"]) * line["seconds"] / 3600
    shown = {key: value for key, value in line.items() if key not in ("epoch", "seconds")}
    print(
        f"epoch {state['epoch']} of {epochs}: {in_words(shown)}; "
        f"{line['seconds']:.1f} s, {left:.1f} h left at most",
        flush=True,
    )
    if reporting.events is not None:
        for name, value in _numbers(line):
            reporting.events.add_scalar(name, value, state["epoch"])
        reporting.events.flush()


def in_words(metrics: Mapping[str, Any]) -> str:
    """Metrics in one line; mean firing rates are left to the log."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}"
        for name, value in _numbers(metrics)
        if "/" not in name
    )


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value
