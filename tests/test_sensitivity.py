"""The grid of betas: what it trains, what it keeps, and the sheet it is kept in."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pudm_lib.data import pixels
from pudm_lib.measures.numbers import wilson_interval
from pudm_lib.studies import rates_over_beta as sensitivity


@pytest.mark.parametrize(
    "betas",
    [
        [],
        [0.0],
        [0.1, 0.2],
        [-0.1, 0.2],
        [0.0, 1.0],
        [0.0, 0.2, 0.1],
        [0.0, float("nan")],
    ],
)
def test_betas_outside_their_range_or_order_are_refused(betas):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\), rise and begin with 0"):
        sensitivity.grid_experiments("ci", betas, [0, 1])


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match=r"seeds=\[0\], must be at least two"):
        sensitivity.grid_experiments("ci", [0.0, 0.1], [0])


def test_all_methods_share_the_unsupervised_models_at_beta_zero():
    cells = sensitivity.grid_experiments("ci", [0.0, 0.2], [3, 4])
    assert cells["pu_non_negative", 0.0] == cells["pu_absolute", 0.0]
    at_zero = cells["pu_absolute", 0.0]
    assert [e.training.method for e in at_zero] == ["unsupervised"] * 2
    assert [
        (e.training.method, e.training.beta, e.seed) for e in cells["pu_absolute", 0.2]
    ] == [
        ("pu_absolute", 0.2, 3),
        ("pu_absolute", 0.2, 4),
    ]


def test_a_grid_keeps_what_the_runs_gave(tmp_path, monkeypatch):
    monkeypatch.setenv("PUDM_RUNS", str(tmp_path))
    grid = sensitivity.measure_grid("ci", [0.0, 0.1], [3, 4])
    samples = sensitivity.grid_samples("ci", [0.0, 0.1], [3, 4])
    assert grid["true_beta"] == pytest.approx(60 / 660)
    assert len(grid["points"]) == len(samples) == 4
    assert samples.shape == (4, 64, 1, 8, 8)
    for p in grid["points"]:
        count = round(sum(p["rates"]) * 64)
        assert p["interval"] == pytest.approx(wilson_interval(count, 128))
        assert 0 <= p["rates"][1] <= 1 and p["frechet_pixels"][0] > 0
        # The kept marks are those of the shown samples, and all 64 are shown here.
        assert np.mean(p["sensitive"]) == pytest.approx(1 - p["rates"][0])
    non_negative = sensitivity.points_of(grid, "pu_non_negative")
    assert [p["beta"] for p in non_negative] == [0.0, 0.1]
    assert torch.equal(samples[0], samples[2]), "the same unsupervised model"
    assert not torch.equal(samples[0], samples[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_gives_the_samples_back(channels):
    generator = torch.Generator().manual_seed(0)
    size = (3, 5, channels, 4, 6)
    samples = torch.randint(256, size, dtype=torch.uint8, generator=generator)
    png = pixels.to_png(samples)
    picture = np.asarray(Image.open(io.BytesIO(png)))
    assert picture.shape[:2] == (3 * 4, 5 * 6)
    # Row of the picture: point; column: sample.
    wanted = samples[1, 2].permute(1, 2, 0).squeeze(-1).numpy()
    assert np.array_equal(picture[4:8, 12:18], wanted)
    assert torch.equal(pixels.from_png(png, points=3, images=5), samples)


def test_a_sheet_of_another_grid_is_refused():
    png = pixels.to_png(torch.zeros(3, 5, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="12 x 20 pixels does not hold 5 rows of 5"):
        pixels.from_png(png, points=5, images=5)
