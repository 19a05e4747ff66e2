"""The reference engine: graphs of every card, and densities written out; what it samples is in `test_agreement`."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import simulate
import xarray as xr
from dense import FULL, QUICK, collapsed_and_dense

import goldpeak
from goldpeak.card import Card, Coefficient, Constant, FormSpec, LogLinear, NoDiscrepancy, Noise
from goldpeak.design import Design, make_design
from goldpeak.engines import nuts
from goldpeak.engines.gaussian import Still
from goldpeak.engines.linear_model import LinearModel
from goldpeak.gates import gates_of
from goldpeak.library import card_names, load_card
from goldpeak.priors import HalfNormal, LogNormal, Normal

SIGMA = 0.05
"""Graphs that are evaluated once are not worth a numba compilation of half a minute."""
KNOWN = Card(
    name="known",
    title="every variance known, up to a hair",
    form=FormSpec("rl"),
    alpha=Coefficient(Constant(Normal(0.5, 0.7))),
    beta=Coefficient(LogLinear(Normal(0.3, 0.4), Normal(0.0, 0.1))),
    noise=Noise("iid", LogNormal(np.log(SIGMA), 1e-4)),
    discrepancy=NoDiscrepancy(),
)


def design_of(card: Card, **settings: object) -> Design:
    form = card.form.kind if card.form.kind in ("bon", "rl") else "rl"
    kl_max = 8.0 if form == "bon" else 40.0
    return make_design(simulate.runs(np.random.default_rng(0), form=form, points=5, kl_max=kl_max, **settings), card)


LOGGED = [
    dataclasses.replace(load_card(name), beta=dataclasses.replace(load_card(name).beta, link="log"))
    for name in ("rl_paper", "bon_paper", "rl")
]


@pytest.mark.parametrize(
    "card",
    [*map(load_card, card_names()), *LOGGED],
    ids=lambda card: f"{card.name}-{[*card.coefficients.values()][1].link}",
)
def test_every_card_builds_a_model_with_a_finite_density(card: Card) -> None:
    design = design_of(card)
    model = nuts.build_model(design)
    assert np.isfinite(model.compile_logp(mode=QUICK)(model.initial_point()))
    assert set(design.outer) <= {variable.name for variable in (*model.free_RVs, *model.deterministics)}
    assert model.coords["run"] == tuple(design.run)
    assert [variable.name for variable in model.observed_RVs] == ["gold"]


def test_the_likelihood_is_the_normal_density_of_the_points() -> None:
    """By hand, at the prior's centre: of a card without discrepancy and without scatter."""
    design = design_of(KNOWN)
    model = nuts.build_model(design)
    point = {"sigma_log__": np.log(SIGMA), "alpha_coef": np.array([0.5]), "beta_coef": np.array([0.3, 0.0])}
    found = model.compile_logp(vars=model.observed_RVs, mode=QUICK)(point)
    residual = design.y - design.form.basis(design.d) @ [0.5, 0.3]
    wanted = np.sum(-0.5 * (residual / SIGMA) ** 2 - np.log(SIGMA * np.sqrt(2 * np.pi)))
    assert float(found) == pytest.approx(wanted, rel=1e-6)


SMOOTH = [
    card
    for card in map(load_card, card_names())
    if card.discrepancy.kind == "smooth" and card.coordinates == "coefficients"
]


@pytest.mark.parametrize("share_rm", [True, False])
@pytest.mark.parametrize("card", [FULL, *SMOOTH], ids=lambda card: card.name)
def test_the_collapsed_likelihood_is_the_dense_one(card: Card, share_rm: bool) -> None:
    """With a discrepancy every coefficient is integrated out, level by level; here all at once."""
    design = design_of(card, share_rm=share_rm)
    found, dense = collapsed_and_dense(design)
    assert found == pytest.approx(dense, rel=1e-6)


def logged_card(**discrepancy: object) -> Card:
    """Both scatters and a discrepancy beside a beta that is a power law."""
    card = load_card("rl")
    trend = LogLinear(Normal(-1.2, 0.5), Normal(0.0, 0.1))
    smooth = dataclasses.replace(card.discrepancy, **discrepancy)
    return dataclasses.replace(card, beta=dataclasses.replace(card.beta, trend=trend, link="log"), discrepancy=smooth)


@pytest.mark.parametrize("shared", [HalfNormal(0.2), None])
def test_a_coefficient_with_a_log_link_is_a_mean_of_the_collapsed_likelihood(shared: HalfNormal | None) -> None:
    """Against the exact engine's marginal likelihood of gold less what that coefficient explains."""
    card = logged_card(shared=shared)
    design = design_of(card, share_rm=True)
    model = nuts.build_model(design)
    h = {n: float(prior.from_normal(-0.2)) for n, prior in design.outer.items()}
    point = {f"{n}_log__": np.asarray(np.log(v)) for n, v in h.items()}
    rng = np.random.default_rng(3)
    point |= {"beta_coef": np.array([-1.1, 0.05])}
    point |= {"beta_rm_raw": rng.standard_normal(len(design.rm)), "beta_run_raw": rng.standard_normal(len(design.run))}
    found = model.compile_logp(vars=model.observed_RVs, mode=QUICK)(point)
    level = (
        design.coefficients["beta"].columns @ point["beta_coef"]
        + h["beta_sd_rm"] * point["beta_rm_raw"][design.rm_index]
    )
    beta = np.exp(level + h["beta_sd_run"] * point["beta_run_raw"])
    outer = {n: np.array([value]) for n, value in h.items()} | {"beta": beta[None]}
    assert float(found) == pytest.approx(float(LinearModel(design).marginal(outer)[0]), rel=1e-5)
    # And that one against the same card without any beta; the coefficients' means too.
    less = dataclasses.replace(
        design,
        y=design.y - beta[design.run_index] * design.form.basis(design.d)[:, 1],
        card=(nothing := without_beta(card)),
        coefficients=design.coefficients
        | {
            "beta": dataclasses.replace(
                design.coefficients["beta"], spec=nothing.beta, mean=np.zeros(2), sd=np.full(2, 1e-9)
            )
        },
    )
    rest = {name: value for name, value in outer.items() if not name.startswith("beta")}
    assert float(found) == pytest.approx(float(LinearModel(less).marginal(rest)[0]), rel=1e-5)
    once = np.zeros(1, dtype=np.int64)
    given, alone = LinearModel(design).draw(outer, once, Still()), LinearModel(less).draw(rest, once, Still())
    assert "beta" not in given
    for name in ("alpha", "alpha_coef", "alpha_rm", "delta"):
        np.testing.assert_allclose(given[name][1], alone[name][1], rtol=1e-5, atol=1e-7)


def without_beta(card: Card) -> Card:
    tiny = Normal(0.0, 1e-9)
    return dataclasses.replace(card, beta=Coefficient(LogLinear(tiny, tiny)))


@pytest.mark.slow
def test_a_power_law_beside_a_discrepancy_is_sampled() -> None:
    runs = simulate.runs(np.random.default_rng(11), runs_per_size=2, points=8, share_rm=True, kl_max=30.0)
    with warnings.catch_warnings():
        # A divergence or two in 1,600 transitions come and go with the machine's rounding.
        warnings.simplefilter("ignore", goldpeak.ConvergenceWarning)
        post = goldpeak.fit(runs, logged_card(), seed=1, draws=500, tune=500, chains=2)
    assert post.attrs["engine"] == "nuts"
    measured = gates_of(post).measured
    # Of fewer draws than by default a little less is asked.
    assert measured["rhat_max"] < 1.03
    assert min(measured["ess_bulk_min"], measured["ess_tail_min"]) > 150
    assert measured["divergences"] <= 2
    posterior = post["posterior"].to_dataset()
    assert float(posterior["beta"].min()) > 0
    assert posterior["delta"].dims == ("chain", "draw", "run", "sine")
    assert "beta_rm" in posterior
    assert_same_peaks(post, goldpeak.fit(runs, "rl", seed=1))
    assert np.isfinite(goldpeak.peak(post, [1e9]).draws["gold_peak"]).all()


def assert_same_peaks(post: xr.DataTree, other: xr.DataTree) -> None:
    """Of every fitted run, to within a third of the interval."""
    a, b = (np.log(goldpeak.peak(each).table[["median", "lo", "hi"]]) for each in (post, other))
    assert np.all(abs(a["median"] - b["median"]) < (b["hi"] - b["lo"]) / 3)


@pytest.mark.slow
def test_the_default_card_on_the_bundled_data_takes_minutes() -> None:
    """Not a timing: that it comes to an end at all, and to the exact engine's answer."""
    runs = goldpeak.datasets.lab("rl")
    few = goldpeak.select(runs, np.arange(runs.sizes["run"]) % 5 == 0)
    with warnings.catch_warnings():
        # Too few draws for the gate, enough to see where the peaks are.
        warnings.simplefilter("ignore", goldpeak.ConvergenceWarning)
        post = goldpeak.fit(few, "rl", engine="nuts", seed=1, draws=300, tune=300, chains=2)
    assert_same_peaks(post, goldpeak.fit(few, "rl", engine="exact", seed=1))


@pytest.mark.parametrize("link", ["identity", "log"])
def test_runs_without_scatter_lie_on_the_trend(link: str) -> None:
    """And under a log link beta is positive."""
    card = dataclasses.replace(KNOWN, beta=dataclasses.replace(KNOWN.beta, link=link))
    design = design_of(card)
    model = nuts.build_model(design)
    drawn = model["beta"].eval({model["beta_coef"]: np.array([-3.0, 0.5])}, mode=QUICK)
    trend = design.coefficients["beta"].columns @ [-3.0, 0.5]
    np.testing.assert_allclose(drawn, np.exp(trend) if link == "log" else trend)


def test_an_interrupted_run_is_not_a_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    import pymc
    import xarray as xr

    short = xr.DataTree.from_dict({"posterior": xr.Dataset(coords={"chain": [0], "draw": np.arange(3)})})
    for result in (None, short):
        monkeypatch.setattr(pymc, "sample", lambda result=result, **settings: result)
        with pytest.raises(KeyboardInterrupt):
            nuts.sample(design_of(KNOWN), seed=0, draws=10)


@pytest.mark.parametrize(("noise", "expected"), [(0.003, True), (1.0, False)])
def test_centring_follows_the_information_of_the_runs(noise: float, expected: bool) -> None:
    design = design_of(load_card("rl_paper"), noise=noise, sd=0.05)
    assert nuts.runs_are_informative("alpha", design) is expected
    names = {variable.name for variable in nuts.build_model(design).free_RVs}
    assert ("alpha" in names, "alpha_run_raw" in names) == (expected, not expected)
