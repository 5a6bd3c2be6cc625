"""The converted convolutional network: an image to the spike trains of its 64 outputs.

Two ways lead to the same spikes. :meth:`SpikingEncoder.forward` computes every step of every layer
and has gradients. :meth:`SpikingEncoder.trains` is for a network that is not trained, and leaves
out (:class:`Passage`) what cannot matter:

- Steps in which no pixel fires bring no current. Where pixels fire all R + 1 steps and together,
  as those of a black-and-white image do, neurons that do not leak can only fire in these steps, and
  are no longer refractory in the next of them. So all layers are computed for these steps alone (a
  quarter of all, with the paper's neurons), without refractoriness.
- The first layer's neuron of a black-and-white image sees one of 512 patterns of 3 x 3 pixels. The
  trains of all patterns are computed once and looked up.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hebbian_snn.convnets.encoders import BLOCKS
from hebbian_snn.kernels import lif_scan
from hebbian_snn.layers import Encoding, SpikingConvolution
from hebbian_snn.neurons import IFParameters, LIFParameters

CHUNK = {"cpu": 8, "cuda": 128}
"""Images that go through the network together where all steps are computed: 80 MB each."""

FAST_CHUNK = 16
"""The same for :meth:`SpikingEncoder.trains`."""

_SIDE = 3  # pixels of a convolution
_MOST = 0.75  # share of loud steps above which leaving out the others costs more than it saves


class SpikingEncoder(nn.Module):
    """Pixels that fire, then four blocks of convolution, spiking neurons and pooling.

    Args:
        channels: of every block.
        num_time_steps: T, for an image, which starts from rest.
        pixels: neurons that are driven by the intensities.
        neuron: neurons of the blocks, with any threshold; see ``hebbian_snn.convnets.conversion``.
        generator: of the start of the weights.
        learn_thresholds: the thresholds are trained.
        backend: of the neurons.
    """

    def __init__(
        self,
        channels: int,
        num_time_steps: int,
        pixels: LIFParameters,
        neuron: IFParameters,
        generator: Generator,
        learn_thresholds: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.num_time_steps = num_time_steps
        self.wait = neuron.refractory_time_steps + 1
        self.pixels = Encoding(num_time_steps, pixels, backend=backend)
        self.blocks = nn.ModuleList(
            SpikingConvolution(
                1 if k == 0 else channels, neuron, generator, channels, learn_thresholds, backend
            )
            for k in range(BLOCKS)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W) intensities to (B, T, channels * (H // 16) * (W // 16)) spikes, float32.

        Every step of every layer; what gradients need is computed anew, chunk by chunk.
        """
        chunks = images.float().split(CHUNK[images.device.type])
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters()):
            found = [checkpoint(self._all_steps, chunk, use_reentrant=False) for chunk in chunks]
        else:
            found = [self._all_steps(chunk) for chunk in chunks]
        return torch.cat(found)

    def _all_steps(self, images: Tensor) -> Tensor:
        spikes = self.pixel_spikes(images)
        maps = spikes.unflatten(2, (1, *images.shape[1:]))
        for block in self.blocks:
            maps = block(maps)
        return maps.flatten(2)

    def pixel_spikes(self, images: Tensor) -> Tensor:
        """(B, H, W) intensities to (B, T, H * W) spikes."""
        return self.pixels(images.float().flatten(1)[:, None])[0]

    @torch.no_grad()
    def trains(self, images: Tensor) -> Tensor:
        """The spikes of :meth:`forward`, uint8, without gradients; fast for black-and-white images.

        Sums are rounded in another order, which may move a spike of a neuron that just reaches its
        threshold.
        """
        return torch.cat([self._fast(chunk) for chunk in images.split(FAST_CHUNK)])

    def _fast(self, images: Tensor) -> Tensor:
        passage = Passage(self, images)
        for block in self.blocks:
            passage.fire(block, passage.currents(block))
        return passage.trains()


class Passage:
    """Images on their way through an encoder, layer by layer, without gradients.

    Args:
        encoder: with its thresholds. images: (B, H, W), a chunk.

    Maps are (B, steps, H, W, channels), which convolutions take as they are.
    """

    def __init__(self, encoder: SpikingEncoder, images: Tensor) -> None:
        self.encoder = encoder
        spikes = encoder.pixel_spikes(images)
        steps = spikes.amax((0, 2)).nonzero()[:, 0]
        self.regular = _every(steps, encoder.wait, encoder.num_time_steps)
        self.steps = steps if self.regular else torch.arange(encoder.num_time_steps)
        self.black_and_white = bool(((images == 0) | (images == 1)).all())
        self.maps = spikes[:, self.steps].unflatten(2, (*images.shape[1:], 1))
        self.is_start = True

    @property
    def constant(self) -> bool:
        """Whether the next layer's currents are the same in all steps."""
        return self.is_start and self.regular and self.black_and_white

    def currents(self, block: SpikingConvolution) -> Tensor:
        """Of the next layer's neurons, (B, steps, H, W, channels); one step where all are equal."""
        maps = self.maps[:, :1] if self.constant else self.maps
        loud = maps.amax((0, 2, 3, 4)) > 0
        heard = maps if float(loud.float().mean()) > _MOST else maps[:, loud]
        found = functional.conv2d(
            heard.flatten(0, 1).movedim(3, 1), block.weight, padding=_SIDE // 2
        )
        found = found.movedim(1, 3).unflatten(0, heard.shape[:2])
        if heard is maps:
            return found
        currents = found.new_zeros(*maps.shape[:4], found.shape[-1])
        currents[:, loud] = found
        return currents

    def fire(self, block: SpikingConvolution, currents: Tensor) -> None:
        """Advance to the pooled spikes of a layer, whose currents are given."""
        neuron = block.neuron._replace(thr=block.thr)
        if self.regular:
            neuron = neuron._replace(refractory_time_steps=0)
        if self.constant:
            trains = _look_up(self.maps[:, 0, :, :, 0], block, neuron, len(self.steps))
        else:
            fired = lif_scan(currents.flatten(2), neuron, backend=block.backend)[0]
            trains = fired.view_as(currents).movedim(1, 3)
        # (B, H, W, steps, channels): a pooled neuron fires when one of four does.
        rows, columns = (size // 2 * 2 for size in trains.shape[1:3])
        upper, lower = trains[:, :rows:2, :columns], trains[:, 1:rows:2, :columns]
        pooled = upper.maximum(lower)
        pooled = pooled[:, :, ::2].maximum(pooled[:, :, 1::2])
        self.maps, self.is_start = pooled.movedim(3, 1).float().contiguous(), False

    def trains(self) -> Tensor:
        """(B, T, channels * H * W) uint8: the spikes of all steps where the images are now."""
        spikes = self.maps.movedim(4, 2).flatten(2).to(torch.uint8)
        found = spikes.new_zeros(len(spikes), self.encoder.num_time_steps, spikes.shape[2])
        found[:, self.steps] = spikes
        return found


def _every(steps: Tensor, wait: int, num_time_steps: int) -> bool:
    """Whether there are steps, ``wait`` apart and up to the end."""
    if not len(steps) or int(steps[-1]) + wait < num_time_steps:
        return False
    return bool((steps.diff() == wait).all())


def _look_up(images: Tensor, block: SpikingConvolution, neuron: IFParameters, steps: int) -> Tensor:
    """Trains (B, H, W, steps, channels) uint8 of the first layer's neurons for black-and-white
    images (B, H, W), each of whose steps brings the same current."""
    bits = 2 ** torch.arange(_SIDE**2, device=images.device)
    patterns = (torch.arange(2 ** len(bits), device=images.device)[:, None] & bits) > 0
    currents = patterns.float() @ block.weight.flatten(1).T
    spikes, _ = lif_scan(currents[:, None], neuron, num_time_steps=steps, backend=block.backend)
    code = functional.conv2d(
        images[:, None], bits.float().view(1, 1, _SIDE, _SIDE), padding=_SIDE // 2
    )
    return spikes.to(torch.uint8)[code[:, 0].long()]
