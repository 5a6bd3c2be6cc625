"""Small networks and images for the tests of DASBE."""

import numpy as np
import torch

from dasbe.config import NetworkSettings
from dasbe.networks import build_network

SHAPES = {
    "autoencoder": NetworkSettings("autoencoder", (13,), (13,)),
    "deep": NetworkSettings("autoencoder", (17, 11), (11, 15)),
    "spiking_code": NetworkSettings("spiking_code", (17, 40), (40, 9)),
}
MORE_SHAPES = {
    **SHAPES,
    "contrastive": NetworkSettings("contrastive", (17, 40), (40, 9)),
    "recurrent": NetworkSettings("recurrent", (17, 11), (11, 15)),
    "convolutional": NetworkSettings("convolutional", (11,), (11, 15)),
}


def lively_network(kind, n_pixels, seed=0):
    """A random network whose feedback spreads over (0, 1), unlike that of PyTorch's start."""
    network = build_network(MORE_SHAPES[kind], n_pixels, torch.Generator().manual_seed(seed))
    for parameter in network.parameters():
        parameter.requires_grad_(False).mul_(3)
    return network


def random_images(count, height, width, seed=0):
    """Images with different numbers of on-pixels, one with a single pixel."""
    rng = np.random.default_rng(seed)
    shares = np.linspace(0.2, 0.9, count)[:, None, None]
    images = (rng.random((count, height, width)) < shares).astype(np.float32)
    images[0] = 0
    images[0, height // 2, width - 1] = 1
    return torch.from_numpy(images)
