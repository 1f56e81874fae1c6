"""Chapter 04's toy: its data and its judge against densities that are known."""

import pytest
import torch

from pudm_lib.diffusion import mixtures
from pudm_lib.diffusion.process import random_generator
from pudm_lib.studies import toy


def test_leak_of_normal_data_is_the_integral_of_their_density():
    axis = torch.linspace(-3, 3, 801, dtype=torch.float64)
    places, cell = torch.cartesian_prod(axis, axis), (axis[1] - axis[0]).square()
    p_normal, _ = mixtures.pu_toy()
    mass = p_normal.log_prob(places).exp() * cell
    exact = mass[toy.leaked(places)].sum().item()
    assert mass.sum() == pytest.approx(1, abs=1e-6)
    assert exact == pytest.approx(0.0104, abs=1e-4)  # what perfect training leaks
    points = p_normal.sample(100_000, random_generator(0, 1))
    assert toy.judge_toy(points)["leak"] == pytest.approx(exact, abs=0.0013)  # 4 errors


def test_judge_calls_one_in_a_thousand_of_the_data_off_and_far_points_all():
    p_unlabeled = mixtures.pu_mixture(*mixtures.pu_toy(), toy.TRUE_BETA)
    points = p_unlabeled.sample(100_000, random_generator(0, 2))
    assert toy.judge_toy(points)["off"] == pytest.approx(0.001, abs=0.0006)
    assert toy.judge_toy(torch.full((5, 2), 9.0).double())["off"] == 1


def test_every_seed_has_data_of_its_own():
    one, two = toy.toy_images(1, 500, 50), toy.toy_images(2, 500, 50)
    assert one.unlabeled.shape == (500, 2) and one.sensitive.shape == (50, 2)
    assert not torch.equal(one.unlabeled, two.unlabeled)
    assert torch.equal(one.unlabeled, toy.toy_images(1, 500, 50).unlabeled)


def test_the_three_forms_are_one_run_until_a_risk_is_negative(monkeypatch):
    monkeypatch.setitem(toy.SMALL, "steps", 30)
    found = toy.measure_forms([3], labels=2)
    assert list(found) == list(toy.FORMS)
    for (row,) in found.values():
        assert row["apart"] == 0 and row["first"] <= 30
        assert row["largest"] > 0 and 0 <= row["below"] <= 1


def test_leaks_have_a_row_for_each_method_and_seed(monkeypatch):
    monkeypatch.setitem(toy.LONG, "steps", 10)
    found = toy.measure_leaks([0, 1], num_samples=50)
    assert {m: len(rows) for m, rows in found.items()} == dict.fromkeys(toy.COMPARED, 2)
    assert found["unsupervised"][0] != found["unsupervised"][1]
