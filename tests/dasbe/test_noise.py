"""The random numbers of DASBE: its streams, the start of the feedback, those of code neurons."""

import numpy as np
import torch
from scipy import stats

from common import counter_noise
from dasbe import noise


def test_purposes_have_streams_of_their_own():
    streams = (noise.START, noise.PIXELS, noise.CODE, noise.KMEANS, noise.DROPS)
    keys = [noise.image_keys(7, stream, np.arange(100)) for stream in streams]
    assert np.unique(np.concatenate(keys)).size == 500


def test_the_feedback_starts_with_the_numbers_of_its_stream():
    keys = counter_noise.image_keys(3, noise.START, np.arange(6))
    u = counter_noise.uniforms(keys, 0, 13, torch.arange(40)[None]).double().numpy()
    expected = stats.halfnorm.ppf(u + 2.0**-25)
    found = noise.start_feedback(3, np.arange(6), 13, torch.arange(40)[None], 40, normalise=False)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_start_feedback_sums_to_one_over_the_window():
    pixels = torch.arange(40)[None]
    g = noise.start_feedback(3, np.arange(6), 13, pixels, 40)
    assert g.shape == (6, 13, 40)
    assert g.dtype == torch.float32
    assert (g > 0).all()
    torch.testing.assert_close(g.sum(1), torch.ones(6, 40))


def test_start_feedback_is_a_half_normal_before_it_is_normalised():
    g = noise.start_feedback(5, np.arange(4), 50, torch.arange(300)[None], 300, normalise=False)
    assert torch.isfinite(g).all()
    assert stats.kstest(g.flatten().numpy(), stats.halfnorm.cdf).pvalue > 1e-3
    normalised = noise.start_feedback(5, np.arange(4), 50, torch.arange(300)[None], 300)
    torch.testing.assert_close(normalised, g / g.sum(1, keepdim=True))


def test_start_feedback_belongs_to_the_pixel_not_to_its_place():
    everywhere = noise.start_feedback(1, np.array([8]), 7, torch.arange(30)[None], 30)
    some = torch.tensor([[4, 29, 11]])
    there = noise.start_feedback(1, np.array([8]), 7, some, 30)
    assert torch.equal(there[0], everywhere[0][:, some[0]])


def test_phase_uniforms_go_on_from_iteration_to_iteration():
    keys = noise.image_keys(0, noise.CODE, np.arange(2))
    blocks = [noise.phase_uniforms(keys, n, 5, torch.device("cpu"))(3) for n in range(4)]
    run = noise.uniforms(keys, 0, 20, torch.arange(3)[None])
    assert torch.equal(torch.cat(blocks, 1), run)
