"""Small networks and images for the tests of GUST."""

import numpy as np
import torch

from gust.config import DynamicsSettings
from gust.network import Autoencoder

WIDTHS = {
    "plain": ((17, 11), (11, 13)),
    "shallow": ((9,), (9,)),
    "deep": ((19, 12, 7), (7, 15, 10)),
}

SIZES = [  # window, refractory, thinning
    DynamicsSettings(10, 9, 0.5),
    DynamicsSettings(7, 3, 0.3),
    DynamicsSettings(1, 2, 0.0),
    DynamicsSettings(4, 1, 0.5),
    DynamicsSettings(5, 4, 1.0),
]


def lively_network(widths, n_pixels, seed=0, dtype=torch.float64):
    """A random network whose feedback spreads over (0, 1), unlike that of PyTorch's start."""
    generator = torch.Generator().manual_seed(seed)
    network = Autoencoder(n_pixels, *WIDTHS[widths], generator).to(dtype)
    for parameter in network.parameters():
        parameter.data.mul_(2.5)
    return network


def random_images(count, n_pixels, seed=0, dtype=torch.float64):
    """Images with different numbers of on-pixels, the first all off, the second with one."""
    rng = np.random.default_rng(seed)
    shares = np.linspace(0.2, 0.9, count)[:, None]
    images = (rng.random((count, n_pixels)) < shares).astype(np.float64)
    images[:2] = 0
    images[1, n_pixels // 2] = 1
    return torch.from_numpy(images).to(dtype)
