"""Figures 4 and 5: what they measure, against direct formulas; compute and draw."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dasbe_examples import lively_network, random_images
from PIL import Image

from common.results import load_results, save_results
from common.settings import load_settings
from dasbe import reference
from dasbe.binding import load_network
from dasbe.config import FOLDER, DynamicsSettings
from dasbe.dynamics import scatter_pixels, simulate_frames
from dasbe.figures import figure4, figure5
from dasbe.figures.iterations import score_iteration
from datasets.binding import read_group, read_positions

SETTINGS_4 = load_settings(figure4.Figure4Settings, FOLDER / "figure4.yaml")
CPU = torch.device("cpu")


# ---- Figure 4 -------------------------------------------------------------------------------


def test_a_tuned_neuron_is_three_times_more_active_than_under_every_other_condition():
    means = np.array([[0.9, 0.3, 0.06, 0.03, 0.0], [0.3, 0.2, 0.0, 0.0, 0.3], [0.1, 0.0, 0, 0, 0]])
    expected = np.zeros((3, 5), bool)
    expected[0, [0, 2]] = True  # 0.3 is not three times 0.2, and 0.03 is too little
    expected[1, 4] = True
    np.testing.assert_array_equal(figure4.tuned(means, 3, 0.05), expected)


def test_code_spikes_of_the_loop_are_those_of_the_direct_one():
    image = random_images(3, 6, 5)[2]
    network = lively_network("contrastive", 30)
    dynamics = DynamicsSettings(window=9, refractory=2, iterations=7)
    spikes, pixels, code = figure4.simulate_with_code(image[None], network, dynamics, 7, 4, 11, 3)
    draws, shown = reference.PackageDraws(4, 11, 30), []

    class Recorded(reference.PlainContrastive):
        def code(self, drive, step):
            shown.append(super().code(drive, step)[0])
            return shown[-1][None]

    direct, _ = reference.simulate(image, Recorded(network, draws, 2), 9, 2, 7, draws)
    assert torch.equal(scatter_pixels(spikes, pixels)[0], direct[-3:].flatten(0, 1))
    assert code.any()
    assert torch.equal(code[0], torch.stack(shown)[-27:].to(torch.uint8))


def test_code_neurons_that_fire_together_form_a_cluster():
    code = torch.zeros(1, 40, 9, dtype=torch.uint8)
    code[0, 3::8, 2:5] = 1
    code[0, 7::8, 5:9] = 1
    clusters = figure4.cluster_code(code, 3, seed=1, index=0)
    assert clusters[:2].tolist() == [0, 0]
    assert len(set(clusters[2:5])) == len(set(clusters[5:])) == 1
    assert set(clusters) == {0, 1, 2}


def test_overlap_leaves_out_pixels_of_several_objects():
    image = np.array([1, 1, 1, 1, 0, 0])
    true = np.array([1, 1, 0, 2, 0, 0])  # the third pixel belongs to both
    assert figure4.overlap(np.array([0.9, 0.9, 0.1, 0, 0, 0]), true, 1, image) == 1
    assert figure4.overlap(np.array([0.9, 0.2, 0.9, 0, 0, 0]), true, 1, image) == 0.5
    assert figure4.overlap(np.array([0.9, 0.9, 0.9, 0, 0.6, 0]), true, 1, image) == 2 / 3
    assert figure4.overlap(np.zeros(6), true, 2, image) == 0


def test_a_cluster_that_is_switched_on_is_what_the_decoder_sees():
    network = lively_network("contrastive", 30)
    clusters = np.random.default_rng(0).integers(0, 3, network.decoder[0].in_features)
    drawn = figure4.drawings(network, clusters, 3)
    for number in (1, 2):
        code = torch.from_numpy((clusters == number).astype(np.float32))
        np.testing.assert_allclose(drawn[number - 1], network.decode(code[None])[0], rtol=1e-5)


def test_figure4_computes_draws_and_is_read_again(untrained_networks, tmp_path):
    untrained_networks("shapes_contrastive")
    settings = replace(SETTINGS_4, iterations=4, read_iterations=3, raster_iterations=2)
    plan = figure4.Plan("quick", 60, 5, (1, 2), "auto", CPU, tmp_path / "out")
    record, arrays = figure4.compute(plan, settings)

    network = load_network("shapes_contrastive").network
    kind = {"kind": [], "x": [], "y": []}
    for number in range(3):
        images = read_group("shapes_with_pos", f"train_single_{number}", start=0, count=60).images
        with torch.inference_mode():
            code = network.encode(images.flatten(1)).numpy()
        kind["kind"].append(code.mean(0))
        y, x = read_positions(f"train_single_{number}", start=0, count=60).numpy().T
        for name, place in (("x", x), ("y", y)):
            third = np.floor(3 * place / (place.max() + 1))
            kind[name].append([code[third == k].mean(0) for k in range(3)])
    np.testing.assert_allclose(arrays["kind"], kind["kind"], rtol=1e-5)
    for name in "xy":
        np.testing.assert_allclose(arrays[name], np.mean(kind[name], axis=0), rtol=1e-5)

    n_objects = int(arrays["true"].max())
    assert arrays["overlaps"].shape == (2, n_objects)
    assert arrays["overlaps"][arrays["shown"]].mean() == arrays["overlaps"].mean(1).min()
    for number, drawing in enumerate(arrays["drawings"], start=1):
        found = figure4.overlap(drawing, arrays["true"].ravel(), number, arrays["image"].ravel())
        assert found == arrays["overlaps"][arrays["shown"], number - 1]
    values = {m.what: m.value for m in record.measurements}
    assert len(values) == 9 + 1 + n_objects
    assert values["AMI of the pixels"] == pytest.approx(100 * arrays["ami"].mean())

    save_results(plan.out, record, arrays, figure4.draw(record, arrays))
    stored, loaded = load_results(plan.out)
    assert [m.value for m in stored.measurements] == [m.value for m in record.measurements]
    np.testing.assert_array_equal(loaded["code"], arrays["code"])


# ---- Figure 5 -------------------------------------------------------------------------------


def test_a_film_is_bound_frame_by_frame():
    frames = torch.stack([random_images(2, 6, 5, seed) for seed in range(1, 6)], dim=1)
    rng = np.random.default_rng(0)
    true = torch.from_numpy(rng.integers(1, 3, frames.shape)) * frames.long()
    network = lively_network("recurrent", 30)
    dynamics, indices = DynamicsSettings(window=9, refractory=2, iterations=5), np.array([3, 8])
    film = figure5.bind_film(frames, true, network, dynamics, 4, indices, 1 / 3)
    spikes, pixels = simulate_frames(frames, network, 9, 2, 4, indices)
    assert spikes.any()
    np.testing.assert_array_equal(
        film.spikes.reshape(2, 5, 9, 30), scatter_pixels(spikes, pixels).numpy()
    )
    for n in range(5):
        maps, scores = score_iteration(spikes[:, n], pixels, true[:, n], 4, indices, 1 / 3)
        np.testing.assert_array_equal(film.groups[:, n].reshape(2, -1), maps)
        np.testing.assert_array_equal(film.synchrony[:, n], scores.synchrony)
        np.testing.assert_array_equal(film.rate[:, n], scores.rate)
        for b in range(2):
            assert film.ami[b, n] == pytest.approx(reference.ami(true[b, n], maps[b]), abs=1e-12)


def test_without_recurrence_the_code_is_that_of_the_frame_alone():
    network = lively_network("recurrent", 30)
    cut = figure5.without_recurrence(network)
    drive = torch.rand(2, 3, 11)
    first, state = cut.step(drive, None, None, 0)
    second, _ = cut.step(drive, state, None, 0)
    assert torch.equal(first, second)
    assert network.recurrent.weight.any()  # the original is as it was


def test_figure5_computes_draws_and_is_read_again(untrained_networks, tmp_path, capsys):
    untrained_networks("moving_shapes")
    out = tmp_path / "out"
    flags = ["--sequence", "1", "--sequences", "11", "--seed", "7", "--device", "cpu"]
    options = figure5.FIGURE.read([*flags, "--out", str(out)])
    options = replace(options, frames=32, scored_from=31)
    record = figure5.FIGURE.record(options)
    arrays = figure5.compute(options, record)
    assert arrays["ami"].shape == arrays["rate_without"].shape == (11, 32)
    assert arrays["spikes"].shape == (32, 32, 28, 28)
    assert not arrays["spikes"].any(axis=1)[arrays["frames"] == 0].any()
    values = {m.what: m for m in record.measurements}
    assert values["AMI"].value == pytest.approx(100 * arrays["ami"][:, 30:].mean())
    gain = arrays["ami"][:, 30:] - arrays["ami_without"][:, 30:]
    assert values["AMI, gain by the recurrence"].value == pytest.approx(100 * gain.mean())
    # The shown film is sequence 1, whichever chunk it was in.
    again = figure5.compute(replace(options, sequences=2), figure5.FIGURE.record(options))
    np.testing.assert_array_equal(again["groups"], arrays["groups"])

    save_results(out, record, arrays, figure5.draw(record, arrays))
    np.testing.assert_array_equal(load_results(out)[1]["groups"], arrays["groups"])
    with Image.open(figure5.animate(arrays, out / "film.gif")) as film:
        assert film.n_frames == 32
    assert figure5.main(["--sequences", "1"]) == 1
    assert "at least 2" in capsys.readouterr().err
    assert figure4.main(["--image", "-3"]) == 1
    assert "-3" in capsys.readouterr().err
