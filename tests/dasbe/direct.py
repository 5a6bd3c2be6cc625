"""DASBE as its equations stand: one image, one time step, one network call at a time.

The reference for the tests and the slow side of ``benchmarks/binding.py``. Random numbers come
from a source: :class:`PackageDraws` gives those of the package, so that spikes can be compared
one by one; :class:`FreshDraws` draws its own, as a plain script would.
"""

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score
from torch import nn

from dasbe import noise


class PackageDraws:
    """The random numbers that the package gives image ``index`` under ``seed``."""

    def __init__(self, seed, index, n_pixels):
        self.seed, self.indices = seed, np.array([index])
        self.n_pixels = n_pixels
        self.pixel = torch.arange(n_pixels)[None]

    def start(self, window, normalise=True):
        g = noise.start_feedback(
            self.seed, self.indices, window, self.pixel, self.n_pixels, normalise
        )
        return g[0].clone()

    def pixels(self, step):
        keys = noise.image_keys(self.seed, noise.PIXELS, self.indices)
        words = noise.bits(keys, step * self.n_pixels + self.pixel)[0]
        coin, coin_before = noise.coins_of(words)
        return noise.uniform_of(words), coin.float(), coin_before.float()

    def code(self, step, n_units):
        keys = noise.image_keys(self.seed, noise.CODE, self.indices)
        return noise.uniform_of(noise.bits(keys, step * n_units + torch.arange(n_units)[None]))

    def drops(self, step):
        keys = noise.image_keys(self.seed, noise.DROPS, self.indices)
        return noise.uniform_of(noise.bits(keys, step * self.n_pixels + self.pixel))[0]


class FreshDraws:
    """Random numbers of PyTorch's generator."""

    def __init__(self, generator, n_pixels):
        self.generator, self.n_pixels = generator, n_pixels

    def start(self, window):
        g = torch.randn(window, self.n_pixels, generator=self.generator).abs()
        return g / g.sum(0)

    def pixels(self, step):
        uniform = torch.rand(self.n_pixels, generator=self.generator)
        coin = torch.empty(self.n_pixels).bernoulli_(0.5, generator=self.generator)
        coin_before = torch.empty(self.n_pixels).bernoulli_(0.5, generator=self.generator)
        return uniform, coin, coin_before

    def code(self, step, n_units):
        return torch.rand(1, n_units, generator=self.generator)


class DirectAutoencoder:
    """Linear layers, ReLU between, sigmoid after the code and after the output."""

    code_activation = nn.Sigmoid

    def __init__(self, network):
        self.encoder = _stack(network.encoder, self.code_activation())
        self.decoder = _stack(network.decoder, nn.Sigmoid())

    def __call__(self, row, step):
        return self.decoder(self.code(self.encoder(row), step))

    def code(self, drive, step):
        return drive


class DirectSpikingCode(DirectAutoencoder):
    """A code neuron fires where its ReLU drive + U(0, 1) > 1 and it is not refractory."""

    code_activation = nn.ReLU

    def __init__(self, network, draws, refractory):
        super().__init__(network)
        self.draws, self.refractory = draws, refractory
        self.f = 0

    def code(self, drive, step):
        self.f = self.f - torch.ones_like(drive)
        z = (drive + self.draws.code(step, drive.shape[1]) > 1) & (self.f < 0)
        self.f[z] = self.refractory
        return z.float()


class DirectUngatedCode(DirectSpikingCode):
    """The spiking code without refractoriness, as in the pure ANN."""

    def __init__(self, network, draws):
        super().__init__(network, draws, None)

    def code(self, drive, step):
        return (drive + self.draws.code(step, drive.shape[1]) > 1).float()


class DirectContrastive(DirectSpikingCode):
    """A spiking code whose drive passes a sigmoid."""

    code_activation = nn.Sigmoid


class DirectRecurrent(DirectAutoencoder):
    """The decoder's input is sigmoid(W h_previous + h + b), with h_previous the code of the same
    phase one iteration earlier."""

    def __init__(self, network, window):
        super().__init__(network)
        self.mix, self.window, self.h = network.recurrent, window, {}

    def code(self, h, step):
        previous = self.h.get(step % self.window, torch.zeros_like(h))
        self.h[step % self.window] = h
        return torch.sigmoid(previous @ self.mix.weight.T + h + self.mix.bias)


class DirectConvolutional(DirectAutoencoder):
    """Three strided convolutions before the code's layer."""

    def __init__(self, network):
        super().__init__(network)
        layers = [nn.Unflatten(1, (1, network.size, network.size))]
        for convolution in network.convolutions:
            layers += [convolution, nn.ReLU()]
        self.encoder = nn.Sequential(*layers, nn.Flatten(), self.encoder)


def direct_network(kind, network, draws, window, refractory):
    """The network of a kind (``NetworkSettings.kind``) for one image."""
    if kind == "spiking_code":
        return DirectSpikingCode(network, draws, refractory)
    if kind == "contrastive":
        return DirectContrastive(network, draws, refractory)
    if kind == "recurrent":
        return DirectRecurrent(network, window)
    if kind == "convolutional":
        return DirectConvolutional(network)
    return DirectAutoencoder(network)


class DirectFunction:
    """A user's stateless function of a row."""

    def __init__(self, function):
        self.function = function

    def __call__(self, row, step):
        return self.function(row)[0]


def _stack(linear_layers, last):
    layers = []
    for layer in linear_layers:
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1], last)


@torch.inference_mode()
def direct_dynamics(image, autoencoder, window, refractory, iterations, draws):
    """Spikes (N, T, H*W) uint8 and the feedback (N, T, H*W) that each step used.

    The image is (H, W), or (N, H, W) with another frame for every iteration."""
    frames = image.expand(iterations, *image.shape[-2:]).flatten(1).float()
    x = frames[0]
    g = draws.start(window)
    f, s1, s2 = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    spikes = torch.zeros(iterations, window, x.numel(), dtype=torch.uint8)
    context = torch.zeros(iterations, window, x.numel())
    for n in range(iterations):
        x = frames[n]
        for t in range(window):
            uniform, coin, coin_before = draws.pixels(n * window + t)
            f = f - 1
            s = ((x * g[t] + uniform > 1.00001) & (f < 0)).float()
            f[s == 1] = refractory
            c = (s + s1 + s2 > 0).float()
            spikes[n, t], context[n, t] = s, g[t]
            g[t] = autoencoder(c[None], n * window + t)[0]
            s2 = s1 * coin_before
            s1 = s * coin
    return spikes, context


@torch.inference_mode()
def direct_pure_ann(image, autoencoder, window, iterations, draws, normalise=True):
    """x * g, (N, T, H*W), of the loop without spikes."""
    x = image.flatten().float()
    g = draws.start(window, normalise)
    rates = torch.zeros(iterations, window, x.numel())
    for n in range(iterations):
        for t in range(window):
            rates[n, t] = x * g[t]
            g[t] = autoencoder(rates[n, t][None], n * window + t)[0]
    return rates


def direct_pcnn(image, jump, tau, steps, draws):
    """Spikes (steps, H*W) of the pulse-coupled network, with all pairs of pixels written out."""
    height, width = image.shape
    row, column = np.divmod(np.arange(height * width), width)
    down, right = abs(row[:, None] - row), abs(column[:, None] - column)
    weights = np.exp(-np.sqrt(down**2.0 + right**2.0)) * (np.maximum(down, right) <= 4)
    np.fill_diagonal(weights, 0)
    x = image.flatten().double().numpy()
    linking, y, theta = np.zeros(x.size), np.zeros(x.size), np.full(x.size, 2.0)
    spikes = np.zeros((steps, x.size), np.uint8)
    for step in range(steps):
        present = x * (draws.drops(step).numpy() >= np.float32(0.2))
        linking = np.exp(-1 / 2) * linking + weights @ y
        u = present * (1 + 3 * linking) - 3.5 * y.max()
        theta = np.exp(-1 / tau) * theta + jump * y
        y = (u >= theta).astype(float)
        spikes[step] = y
    return spikes


def direct_smooth(values):
    """(S, P): every step plus half of the one before."""
    smoothed = np.array(values, dtype=np.float64)
    for step in range(1, len(values)):
        smoothed[step] += 0.5 * np.asarray(values[step - 1], dtype=np.float64)
    return smoothed


def direct_groups(activity, n_groups, random_state):
    """scikit-learn's k-means on all pixels of (S, P) activity: labels (P,), inertia."""
    kmeans = KMeans(n_groups, n_init=10, random_state=random_state)
    return kmeans.fit_predict(direct_smooth(activity).T), kmeans.inertia_


def direct_ami(true, predicted):
    """AMI over the pixels whose true group is not 0."""
    true, predicted = np.asarray(true).ravel(), np.asarray(predicted).ravel()
    return adjusted_mutual_info_score(true[true != 0], predicted[true != 0])
