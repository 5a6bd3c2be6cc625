"""The original's ``conf.py``: its keys, and the flags of :mod:`snn_tha.run` that they stand for.

    python -m snn_tha.original

writes ``snn_tha/<dataset>/conf.py`` from ``snn_tha/settings/<dataset>.yaml``. ``python run.py`` in
that folder trains with what stands in its ``conf.py``, which may be edited.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError, command_line
from common.files import atomic_path
from common.settings import to_dict
from snn_tha.config import DATASETS, Settings, tha_settings

PLAIN = {
    "binarize": "network.binarize",
    "batch_norm": "network.batch_norm",
    "beta": "neuron.beta",
    "slope": "neuron.slope",
    "num_epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "lr": "training.learning_rate",
    "momentum": "training.momentum",
    "betas": "training.betas",
    "t_0": "training.t_0",
    "eta_min": "training.eta_min",
    "correct_rate": "training.correct_rate",
    "incorrect_rate": "training.incorrect_rate",
    "early_stopping": "training.early_stopping",
    "patience": "training.patience",
}
CLIPS = {"grad_clip": "gradient_clip", "weight_clip": "weight_clip"}
"""On (a norm, or a weight, of 1 at most) or off."""

LAYERS = {"threshold": "thr_start", "alpha_thr": "alpha", "thr_final": "thr_added"}
"""A key for every layer, counted from 1."""

RUN = {"num_trials": 1, "seed": 0, "data_dir": None, "save_csv": True, "save_model": True}


def config_of(settings: Settings) -> dict[str, Any]:
    """The settings under the original's keys."""
    values = to_dict(settings)

    def value(path: str) -> Any:
        section, name = path.split(".")
        return values[section][name]

    config = {key: value(path) for key, path in PLAIN.items()}
    if settings.training.optimizer == "adam":
        del config["momentum"]
    else:
        del config["betas"]
    config |= {key: value(f"training.{name}") is not None for key, name in CLIPS.items()}
    config |= {f"dropout{k}": x for k, x in enumerate(_dropout(settings), 1)}
    for key, name in LAYERS.items():
        config |= {f"{key}{k}": x for k, x in enumerate(value(f"neuron.{name}"), 1)}
    return {**config, **RUN}


def _dropout(settings: Settings) -> tuple[float, ...]:
    """Of the linear layers: the convolutions have none."""
    return settings.network.dropout[len(settings.network.convolutions) :]


def flags_of(dataset: str, config: Mapping[str, Any]) -> list[str]:
    """What ``snn_tha.run`` is told by a ``conf.py``.

    Raises :class:`UserError` for a key that the original's file of this data set does not have or
    that has no counterpart, and for a folder that is not there.
    """
    settings = tha_settings(dataset)
    known = config_of(settings)
    unknown = [key for key in config if key not in known]
    if unknown:
        raise UserError(
            f"conf.py: {', '.join(unknown)} has no counterpart here; known are {', '.join(known)}"
        )
    if not config.get("save_model", True):
        raise UserError("conf.py: save_model cannot be False: logs are made of the saved networks")
    config = {**known, **config}
    flags = ["--dataset", dataset]

    def add(name: str, *values: Any) -> None:
        words = ["none" if x is None else str(x).lower() for x in values]
        flags.extend([f"--{name}", *words])

    for key in known:
        if key in PLAIN:
            value = config[key]
            many = isinstance(value, (list, tuple))
            add(PLAIN[key].split(".")[1], *(value if many else [value]))
    for key, name in CLIPS.items():
        add(name, 1.0 if config[key] else None)
    dropout = [config[f"dropout{k}"] for k, _ in enumerate(_dropout(settings), 1)]
    add("dropout", *[0] * len(settings.network.convolutions), *dropout)
    for key, name in LAYERS.items():
        add(name, *(config[f"{key}{k + 1}"] for k in range(settings.network.n_layers)))
    add("trials", config["num_trials"])
    add("seed", config["seed"])
    add("save_csv", bool(config["save_csv"]))
    return flags


def use_data_of(config: Mapping[str, Any]) -> None:
    """Take the data from ``data_dir``, if one is given.

    Raises :class:`UserError` where it is not a folder.
    """
    if config.get("data_dir") is None:
        return
    folder = Path(config["data_dir"]).expanduser()
    if not folder.is_dir():
        raise UserError(f"conf.py: data_dir is {folder}, which is not a folder")
    os.environ["SNN_DATA"] = str(folder.resolve())


def text_of(dataset: str) -> str:
    """The ``conf.py`` of a data set."""
    lines = [f"    {key!r}: {value!r}," for key, value in config_of(tha_settings(dataset)).items()]
    return "\n".join(
        [
            f"# Settings of `python run.py`, made from snn_tha/settings/{dataset}.yaml by",
            "# `python -m snn_tha.original`. Edit them; flags of run.py come after them. In the",
            "# paper num_trials is 5. data_dir is a folder as $SNN_DATA (None: that one, or",
            "# datasets/files).",
            "config = {",
            *lines,
            "}",
            "",
        ]
    ).replace("'", '"')


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Write the four files."""
    for dataset in DATASETS:
        with atomic_path(Path(__file__).parent / dataset / "conf.py") as temporary:
            temporary.write_text(text_of(dataset), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
