"""Cards: round trip through TOML, every problem reported, a stable hash, sensible prior curves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simulate
from hypothesis import given, settings
from hypothesis import strategies as st

import goldpeak
from goldpeak.card import (
    Card,
    Coefficient,
    Constant,
    FormSpec,
    LogLinear,
    LogQuadratic,
    NoDiscrepancy,
    Noise,
    RandomWalk,
    Smooth,
    read_card,
)
from goldpeak.curves import StretchedCurves
from goldpeak.design import Design, make_design
from goldpeak.errors import CardError
from goldpeak.forms import FORMS
from goldpeak.library import card_names, load_card
from goldpeak.priors import Fixed, HalfNormal, LogNormal, Normal

shipped = pytest.mark.parametrize("name", card_names())

LITERAL = """\
name = "literal"
title = "A card written out"
form = { kind = "bon" }

[alpha]
trend = { kind = "constant", intercept = { kind = "normal", mu = 0.5, sigma = 0.7 } }

[beta]
link = "log"
sd_run = { kind = "half_normal", sigma = 0.1 }

[beta.trend]
kind = "log_linear"
intercept = { kind = "normal", mu = -1, sigma = 0.4 }
slope = { kind = "normal", mu = 0.0, sigma = 0.1 }

[noise]
kind = "iid"
sigma = { kind = "log_normal", mu = -3.0, sigma = 0.5 }
"""

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
normals = st.builds(Normal, finite, positive)
scales = st.one_of(st.builds(HalfNormal, positive), st.builds(LogNormal, finite, positive))
trends = st.one_of(
    st.builds(Constant, normals),
    st.builds(LogLinear, normals, normals),
    st.builds(LogQuadratic, normals, normals, normals),
    st.builds(RandomWalk, normals, normals, scales),
)
coefficients = st.builds(
    Coefficient, trends, st.sampled_from(["identity", "log"]), st.none() | scales, st.none() | scales
)
form_specs = st.sampled_from(list(FORMS)).flatmap(
    lambda kind: st.builds(FormSpec, st.just(kind), normals if FORMS[kind].has_gamma else st.none())
)
discrepancies = st.just(NoDiscrepancy()) | st.builds(
    Smooth, scales, shared=st.none() | scales, shared_trend=st.none() | scales, run=scales
)
noises = st.one_of(
    st.builds(Noise, st.sampled_from(["iid", "known", "cov"]), scales, offset_sd=st.none() | scales),
    st.builds(
        Noise,
        st.just("ou"),
        scales,
        lengthscale=scales,
        time=st.sampled_from(["d", "step"]),
        nugget=st.none() | scales,
        offset_sd=st.none() | scales,
    ),
    st.builds(Noise, st.just("student_t"), scales, nu=scales | st.builds(Fixed, positive)),
)
cards = st.builds(
    Card,
    name=st.text(),
    title=st.text(),
    form=form_specs,
    alpha=coefficients,
    beta=coefficients,
    noise=noises,
    discrepancy=discrepancies,
    description=st.text(),
    references=st.lists(st.text(), max_size=3).map(tuple),
)


@shipped
def test_shipped_cards_round_trip(name: str) -> None:
    card = load_card(name)
    assert card.name == name
    assert card.references
    assert Card.from_toml(card.to_toml()) == card


@settings(deadline=None)
@given(card=cards)
def test_any_card_round_trips(card: Card) -> None:
    again = Card.from_toml(card.to_toml())
    assert again == card
    assert again.hash() == card.hash()


@pytest.mark.parametrize("one", [1, np.float64(1.0), np.float32(1.0), np.int64(1)], ids=lambda v: type(v).__name__)
def test_numbers_of_every_sort_give_the_card_that_its_file_gives_back(one: float) -> None:
    card = dataclasses.replace(Card.from_toml(LITERAL), noise=Noise("iid", HalfNormal(one)))
    again = Card.from_toml(card.to_toml())
    assert again.noise.sigma.sigma == 1.0
    assert again.hash() == card.hash()


def test_the_hash_of_a_literal_card() -> None:
    """Posterior files carry this hash: if it changes, none of them can be read any more."""
    assert Card.from_toml(LITERAL).hash() == "91b27ca81ba4d509"


@settings(deadline=None)
@given(name=st.text(), title=st.text(), description=st.text(), references=st.lists(st.text()).map(tuple))
def test_words_do_not_change_the_hash(name: str, title: str, description: str, references: tuple[str, ...]) -> None:
    card = Card.from_toml(LITERAL)
    worded = dataclasses.replace(card, name=name, title=title, description=description, references=references)
    assert worded.hash() == card.hash()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mu = 0.5", "mu = 0.51"),
        ('kind = "half_normal", sigma = 0.1', 'kind = "half_normal", sigma = 0.11'),
        ('"iid"', '"known"'),
        ('"bon"', '"rl"'),
        ('link = "log"', 'link = "identity"'),
    ],
)
def test_every_part_of_the_model_changes_the_hash(old: str, new: str) -> None:
    changed = LITERAL.replace(old, new)
    assert changed != LITERAL
    assert Card.from_toml(changed).hash() != Card.from_toml(LITERAL).hash()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("link =", "lnik =", "unknown key beta.lnik (did you mean 'link'?); allowed here: trend, link, sd_rm, sd_run"),
        ("sd_run =", "sdrun =", "unknown key beta.sdrun (did you mean 'sd_run'?)"),
        ('"log_linear"', '"log_liner"', "beta.trend.kind is 'log_liner'; allowed kinds: constant"),
        ('"log_linear"', '"log_liner"', "did you mean 'log_linear'?"),
        ('kind = "bon"', 'kind = "bonn"', "form: kind is 'bonn'; allowed: bon, rl"),
        ('kind = "bon"', 'kind = "bonn"', "did you mean 'bon'?"),
        ('"half_normal"', '"half_norml"', "beta.sd_run.kind is 'half_norml'; allowed kinds: log_normal, half_normal"),
        ('"half_normal"', '["half_normal"]', "beta.sd_run.kind is ['half_normal']"),
        (
            'kind = "normal", mu = 0.5',
            'kind = "gamma", mu = 0.5',
            "alpha.trend.intercept.kind is 'gamma'; allowed kinds: normal",
        ),
        ('"iid"', '"white"', "noise: kind is 'white'; allowed: iid, known, cov, ou, student_t"),
        ('"iid"', '"ou"', "noise: kind 'ou' needs lengthscale"),
        ('"iid"', '"ou"', "noise: kind 'ou' needs time"),
        ('"iid"', '"ou"\ntime = "kl"', "noise: time is 'kl'; allowed: d, step"),
        ('"iid"', '"student_t"', "noise: kind 'student_t' needs nu"),
        ('"iid"', '"iid"\nnugget = { kind = "half_normal", sigma = 0.1 }', "noise: kind 'iid' has no nugget"),
        (
            '"iid"',
            '"student_t"\nnu = 4.0',
            "noise.nu is 4.0, not a table; allowed kinds: log_normal, half_normal, fixed",
        ),
        (
            '"iid"',
            '"student_t"\nnu = { kind = "fixed", value = 0 }',
            "noise.nu: value is 0.0; allowed: a finite number > 0",
        ),
        ('link = "log"', 'link = "lgo"', "beta: link is 'lgo'; allowed: identity, log"),
        ("mu = 0.5", 'mu = "0.5"', "alpha.trend.intercept.mu is '0.5'; allowed: a number"),
        ("mu = 0.5", "mu = true", "alpha.trend.intercept.mu is True; allowed: a number"),
        ("mu = 0.5", "mu = nan", "alpha.trend.intercept: mu is nan; allowed: a finite number"),
        ("sigma = 0.7", "sigma = -0.7", "alpha.trend.intercept: sigma is -0.7; allowed: a finite number > 0"),
        ("sigma = 0.7", "sigma = inf", "alpha.trend.intercept: sigma is inf; allowed: a finite number > 0"),
        ("sigma = 0.7", "sigma = 0", "alpha.trend.intercept: sigma is 0.0; allowed: a finite number > 0"),
        ("mu = 0.5, ", "", "alpha.trend.intercept.mu is missing"),
        ("[noise]", "[noice]", "unknown key noice (did you mean 'noise'?)"),
        ("[noise]", "[noice]", "noise is missing"),
        ('title = "A card written out"', "title = 3", "title is 3; allowed: a text"),
        ('form = { kind = "bon" }', 'form = "bon"', "form is 'bon'; allowed: a table"),
        ('{ kind = "half_normal", sigma = 0.1 }', "0.1", "beta.sd_run is 0.1, not a table; allowed kinds"),
        ('form = { kind = "bon" }', 'form = { kind = "boxcox" }', "form: form 'boxcox' needs a gamma"),
        ('"bon" }', '"bon", gamma = { mu = 0.0, sigma = 1.0 } }', "form: form 'bon' has no gamma"),
        (
            "[noise]",
            '[discrepancy]\nkind = "smooth"\nlengthscale = { kind = "half_normal", sigma = 1 }\n[noise]',
            "one of",
        ),
        ('name = "literal"', "name =", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(old: str, new: str, expected: str) -> None:
    assert old in LITERAL
    with pytest.raises(CardError) as caught:
        Card.from_toml(LITERAL.replace(old, new))
    assert expected in str(caught.value)


def test_all_problems_come_at_once() -> None:
    text = LITERAL.replace("link =", "lnik =").replace("sigma = 0.7", "sigma = -1").replace('"iid"', '"ouu"')
    with pytest.raises(CardError) as caught:
        Card.from_toml(text, source="mine.toml")
    assert len(caught.value.problems) == 3
    assert str(caught.value).startswith("mine.toml: 3 problems")


def test_unreadable_files_are_card_errors(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="cannot be read"):
        read_card(tmp_path / "none.toml")
    with pytest.raises(CardError, match="cannot be read"):
        read_card(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CardError, match="cannot be read"):
        read_card(tmp_path / "latin.toml")


def prior_curves(design: Design, draws: int, seed: int) -> np.ndarray:
    """Prior draws of a new run's gold at the largest size of a design, in standardised units, shape (draw, grid)."""
    rng = np.random.default_rng(seed)
    h = {name: prior.from_normal(rng.standard_normal(draws)) for name, prior in design.outer.items()}
    d = np.linspace(0.0, np.sqrt(design.kl_max), 61)
    x = design.x.max()
    gold = np.zeros((draws, len(d)))
    if design.shape is not None:
        return stretched_prior_curves(design, h, d, rng)
    phi = design.form.basis(d, h["gamma"][:, None] if "gamma" in h else 0.0)
    for i, (name, c) in enumerate(design.coefficients.items()):
        sd = np.where(c.drift, c.sd * h.get(f"{name}_drift", np.ones(draws))[:, None], c.sd)
        theta = (c.mean + sd * rng.standard_normal(sd.shape)) @ c.at(x)
        for level in ("rm", "run"):
            theta = theta + h.get(f"{name}_sd_{level}", 0.0) * rng.standard_normal(draws)
        gold += (np.exp(theta) if c.spec.link == "log" else theta)[:, None] * np.broadcast_to(phi[..., i], gold.shape)
    if design.sines is not None:
        spread = np.sqrt(design.sines.variances(h["lengthscale"]))
        for amplitude, weight in (("eta_shared", 1.0), ("eta_shared_trend", x), ("eta_run", 1.0)):
            coef = h.get(amplitude, np.zeros(draws))[:, None] * spread * rng.standard_normal(spread.shape)
            gold += weight * coef @ design.sines.columns(d).T
    return gold


def stretched_prior_curves(design: Design, h: dict[str, np.ndarray], d: np.ndarray, rng: Any) -> np.ndarray:
    """The same in peak coordinates, by the way that draws of a posterior take.

    Up to four times d*: nobody follows a run to twenty times the KL of its peak, where all of these forms fall fast.
    """
    draws, x = len(h["sigma"]), design.x.max()
    theta = {}
    for name, c in design.coefficients.items():
        sds = [h[f"{name}_sd_{level}"] for level in ("rm", "run")]
        trend = (c.mean + c.sd * rng.standard_normal((draws, len(c.mean)))) @ c.at(x)
        theta[name] = np.exp(trend + np.hypot(*sds) * rng.standard_normal(draws)).reshape(1, -1, 1)
    z, prior = rng.standard_normal(draws), design.card.form.gamma
    gamma = np.maximum(prior.from_normal(z) if prior else 0.0 * z, -0.9).reshape(1, -1, 1)
    shape = h["eta_shared"][:, None] * np.sqrt(design.shape.sines.variances(h["lengthscale"]))
    own = h["eta_run"][:, None] * np.sqrt(design.sines.variances(h["run_lengthscale"]))
    shape, own = (spread * rng.standard_normal(spread.shape) for spread in (shape, own))
    place, height = theta.values()
    drawn = StretchedCurves(
        design.shape, "run", np.array(["a"]), place, height, gamma, shape, design.sines, own[None, :, None]
    )
    return np.where(d <= 4.0 * place[0], drawn.gold(d)[0, :, 0], 0.0)


@shipped
def test_prior_curves_are_of_a_possible_size(name: str) -> None:
    """Gold is in standard deviations of the initial policy: 20 of them is beyond any reward model's reach."""
    card = load_card(name)
    kl_max = 10.0 if card.form.kind == "bon" else 60.0
    runs = simulate.runs(np.random.default_rng(0), sizes=(1e6, 1e7, 1e8), kl_max=kl_max, points=4)
    gold = prior_curves(make_design(runs, card, kl_max=kl_max), draws=4000, seed=1)
    assert np.all(gold[:, 0] == 0)
    highest = np.abs(gold).max(axis=1)
    assert np.mean(highest < 20) >= 0.95
    # Nor so narrow that the paper's curves (gold up to 1.1) would surprise it.
    assert np.mean(gold.max(axis=1) > 1.2) > 0.2


@shipped
def test_prior_curves_can_peak_inside_and_outside_the_range(name: str) -> None:
    card = load_card(name)
    kl_max = 10.0 if card.form.kind == "bon" else 60.0
    runs = simulate.runs(np.random.default_rng(0), kl_max=kl_max, points=4)
    gold = prior_curves(make_design(runs, card, kl_max=kl_max), draws=2000, seed=2)
    at_end = np.mean(gold.argmax(axis=1) == gold.shape[1] - 1)
    assert 0.05 < at_end < 0.95


NEW = """\
name = "mine"
title = "A combination that is not shipped"
form = { kind = "rl_log1p" }

[alpha]
sd_run = { kind = "half_normal", sigma = 0.1 }

[alpha.trend]
kind = "log_quadratic"
intercept = { kind = "normal", mu = 0.5, sigma = 0.7 }
slope = { kind = "normal", mu = 0.0, sigma = 0.1 }
quadratic = { kind = "normal", mu = 0.0, sigma = 0.02 }

[beta.trend]
kind = "random_walk"
intercept = { kind = "normal", mu = 0.3, sigma = 0.4 }
slope = { kind = "normal", mu = 0.0, sigma = 0.1 }
drift = { kind = "half_normal", sigma = 0.02 }

[noise]
kind = "known"
sigma = { kind = "log_normal", mu = -4.0, sigma = 1.0 }
"""


def test_a_new_model_is_a_new_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(NEW, encoding="utf-8")
    runs = simulate.runs(
        np.random.default_rng(0), form="rl_log1p", alpha=1.2, beta=0.6, sizes=(1e6, 1e7, 1e8), points=6
    )
    post = goldpeak.fit(runs, path, engine="exact", draws=250)
    assert post["posterior"]["beta_term"].values.tolist() == ["intercept", "slope", *(f"knot_{i}" for i in range(1, 7))]
    assert post["posterior"]["alpha_term"].values.tolist() == ["intercept", "slope", "quadratic"]
    assert float(post["posterior"]["alpha"].mean()) == pytest.approx(1.2, abs=0.1)
    assert float(post["posterior"]["beta"].mean()) == pytest.approx(0.6, abs=0.1)


@settings(max_examples=10, deadline=None)
@given(card=cards.filter(lambda card: card.name != ""))
def test_a_card_in_python_is_checked_as_a_file_is(card: Card) -> None:
    assert load_card(card) == card
    with pytest.raises(CardError, match="noise: kind is 'white'"):
        load_card(dataclasses.replace(card, noise=Noise("white", HalfNormal(1.0))))
