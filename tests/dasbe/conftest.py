import pytest
import torch
from checkpoint_metadata import TRAINED

from common.checkpoints import save_checkpoint
from common.settings import to_dict
from dasbe.binding import MODEL
from dasbe.config import dataset_settings
from dasbe.networks import build_network


@pytest.fixture
def untrained_networks(tmp_path, monkeypatch):
    """A function that puts untrained networks of the given names in place of the shipped ones and
    returns their folder; data are generated into a folder of their own."""
    folder = tmp_path / "checkpoints" / "dasbe"

    def install(*names):
        for name in names:
            settings = dataset_settings(name)
            generator = torch.Generator().manual_seed(3)
            network = build_network(settings.network, settings.height * settings.width, generator)
            metadata = {**TRAINED, "model": MODEL, "settings": to_dict(settings)}
            save_checkpoint(folder / f"{name}.safetensors", network.state_dict(), metadata)
        return folder

    for module in ("dasbe.binding", "dasbe.figures.figure3"):
        monkeypatch.setattr(f"{module}.CHECKPOINTS", folder.parent)
    monkeypatch.setattr("datasets.real.DATA_FILES", tmp_path / "data")
    return install
