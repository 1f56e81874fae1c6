"""The objectives against a slow loop written from the paper, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pudm_lib.training.losses import METHODS, minus_log_one_minus_exp, risk_and_weights

ELLS = st.lists(st.floats(1e-8, 1e6), min_size=1, max_size=5)


def literal(method, ell_u, ell_s, ell_n, beta, gamma):
    """(step, value) by eqs. 9-19 and Algorithm 1, image by image; torch scalars so that
    autograd can differentiate what the paper writes."""

    def price(ell):  # -log(1 - e^-ell), by whichever form keeps its digits
        if ell < 1:
            return -torch.log(-torch.expm1(-ell))
        return -torch.log1p(-torch.exp(-ell))

    def average(items):
        total = torch.zeros((), dtype=torch.float64)
        for item in items:
            total = total + item
        return total / len(items)

    l_u = average(ell_u)
    l_s_minus = average(ell_s)
    l_s_plus = average([price(ell) for ell in ell_s])
    if method == "unsupervised":
        return l_u, l_u
    if method == "supervised":
        return l_u + l_s_plus, l_u + l_s_plus
    if method == "supervised_code":
        total = torch.zeros((), dtype=torch.float64)
        for ell in ell_u:
            total = total + ell
        for ell in ell_s:
            total = total - torch.log(-torch.expm1(-ell) + 1e-6)
        return (total / (len(ell_u) + len(ell_s)),) * 2
    bracket = l_u - beta * l_s_minus
    if method == "pnu":
        bracket = (1 - gamma) * bracket + gamma * (1 - beta) * average(ell_n)
    if method == "pu_unbiased":
        return (beta * l_s_plus + bracket,) * 2
    if method == "pu_absolute":
        return (beta * l_s_plus + abs(bracket),) * 2
    if bracket >= 0:
        return (beta * l_s_plus + bracket,) * 2
    return -bracket, beta * l_s_plus + 0 * bracket


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40)
@given(u=ELLS, s=ELLS, n=ELLS, beta=st.sampled_from([0.0, 0.1, 0.5, 0.99]))
def test_values_and_gradients_equal_the_literal_loop(method, u, s, n, beta):
    fast = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (u, s, n)]
    slow = [
        [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in part]
        for part in (u, s, n)
    ]
    risk = METHODS[method](*fast, beta=beta, gamma=0.3)
    step, value = literal(method, *slow, beta, 0.3)
    torch.testing.assert_close(risk.value, value, rtol=1e-9, atol=1e-9)
    risk.step.backward()
    step.backward()
    for ours, theirs in zip(fast, slow, strict=True):
        expected = torch.stack(
            [x.grad if x.grad is not None else torch.zeros_like(x) for x in theirs]
        )
        found = ours.grad if ours.grad is not None else torch.zeros_like(ours)
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found.detach(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_price_is_finite_and_right_from_1e_minus_8_to_1e6(dtype):
    ell = torch.logspace(-8, 6, 300, dtype=dtype, requires_grad=True)
    value = minus_log_one_minus_exp(ell)
    value.sum().backward()
    exact = [
        -math.log(-math.expm1(-x)) if x < 1 else -math.log1p(-math.exp(-x))
        for x in ell.double().tolist()
    ]
    slope = [-1 / math.expm1(x) if x < 700 else 0.0 for x in ell.double().tolist()]
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    exact = torch.tensor(exact, dtype=dtype)
    slope = torch.tensor(slope, dtype=dtype)
    torch.testing.assert_close(value.detach(), exact, rtol=tolerance, atol=1e-30)
    torch.testing.assert_close(ell.grad, slope, rtol=tolerance, atol=1e-30)


def test_released_form_is_bounded_and_slightly_negative():
    ell = torch.tensor([1e-12, 50.0])
    low, high = minus_log_one_minus_exp(ell, eps=1e-6).tolist()
    assert low == pytest.approx(-math.log(1e-6), rel=1e-3)
    assert -2e-6 < high < 0


def test_a_negative_risk_is_raised_by_the_step_of_algorithm_1():
    ell_u = torch.tensor([1.0], requires_grad=True)
    ell_s = torch.tensor([20.0], requires_grad=True)
    risk = METHODS["pu_non_negative"](ell_u, ell_s, ell_u[:0], beta=0.1)
    assert risk.negative < 0
    risk.step.backward()
    # Descending on the step raises ell_u and lowers ell_s: the risk goes up again.
    assert ell_u.grad < 0 < ell_s.grad


def test_beta_zero_is_the_unsupervised_model():
    u, s = torch.rand(5), torch.rand(3)
    for name in ("pu_unbiased", "pu_non_negative", "pu_absolute"):
        risk = METHODS[name](u, s, u[:0], beta=0.0)
        assert risk.step == METHODS["unsupervised"](u, s, u[:0]).step


def test_pnu_goes_from_pu_to_pn():
    u, s, n = torch.rand(5) + 1, torch.rand(3), torch.rand(4)
    pu = METHODS["pu_non_negative"](u, s, n, beta=0.2)
    assert METHODS["pnu"](u, s, n, beta=0.2, gamma=0.0).step == pu.step
    only_n = METHODS["pnu"](u, s, n, beta=0.2, gamma=1.0)
    assert only_n.negative == pytest.approx(0.8 * n.mean().item())


def test_a_batch_without_sensitive_images_is_no_nan():
    u, none = torch.rand(4), torch.empty(0)
    for method in METHODS.values():
        assert torch.isfinite(method(u, none, none, beta=0.1, gamma=0.5).step)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("beta", [0.1, 0.9])
def test_weights_give_the_gradient_of_the_step_from_any_pieces(method, beta):
    theta = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    x = torch.rand(
        9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    sizes, options = [4, 3, 2], {"beta": beta, "gamma": 0.3}

    def ell(rows):
        return (x[rows] @ theta).square() + 0.1

    whole = METHODS[method](*ell(slice(None)).split(sizes), **options).step
    (wanted,) = torch.autograd.grad(whole, theta)
    risk, weights = risk_and_weights(ell(slice(None)), sizes, method=method, **options)
    assert risk.step == whole
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        (weights[rows] * ell(rows)).sum().backward()
    torch.testing.assert_close(theta.grad, wanted, rtol=1e-12, atol=0)
