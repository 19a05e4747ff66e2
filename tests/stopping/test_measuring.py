"""What a further run would tell: against the Gaussian closed form, and against refits with simulated measurements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import simulate
import xarray as xr

import goldpeak
from goldpeak import Candidate, simulation
from goldpeak.curves import new_curves
from goldpeak.errors import FitError
from goldpeak.simulation import Fleet
from goldpeak.subset import as_table
from goldpeak.summits import peak_draws

TARGET = 1e9
MEAN, SHARED, OWN, BETA = 0.6, 0.03, 0.02, 0.3


@pytest.fixture(scope="module")
def post() -> xr.DataTree:
    return goldpeak.fit(simulate.runs(np.random.default_rng(0)), "rl_paper", engine="exact", draws=1000)


@pytest.fixture(scope="module")
def gaussian(post: xr.DataTree) -> xr.DataTree:
    """The RL form with beta known: log kl_peak = 2 (alpha / beta - 1), linear in the Gaussian alpha."""
    draws = post["posterior"].to_dataset()
    rng = np.random.default_rng(1)
    shape = draws["sigma"].shape
    zero = xr.zeros_like(draws["sigma"])
    changed = {
        "alpha_coef": MEAN + SHARED * rng.standard_normal((*shape, 1)),
        "beta_coef": np.broadcast_to([BETA, 0.0], (*shape, 2)),
    }
    known = draws.assign({name: draws[name].copy(data=values) for name, values in changed.items()})
    scales = {name: zero for name in known if str(name).rsplit("_", 1)[-1] in ("rm", "run") and "_sd_" in str(name)}
    known = known.assign(scales | {"alpha_sd_run": zero + OWN})
    made = post.copy()
    made["posterior"] = known
    return made


@pytest.mark.parametrize("runs", [1, 5])
@pytest.mark.parametrize("se", [0.02, 0.2])
def test_the_gaussian_closed_form(gaussian: xr.DataTree, runs: int, se: float) -> None:
    candidate = Candidate(1e7, kl=(0.0, 40.0), points=6, gold_se=se, runs=runs)
    found = goldpeak.next_measurement(gaussian, [candidate], TARGET, kl_max=1e4)
    slope = 2.0 / BETA
    seen = (OWN**2 + se**2 / np.sum(candidate.d**2)) / runs
    now, after = (slope**2 * (SHARED**2 + OWN**2 - gain) for gain in (0.0, SHARED**4 / (SHARED**2 + seen)))
    assert found.p_censored == 0.0
    row = found.table.iloc[0]
    assert found.variance_now == pytest.approx(now, rel=4 * np.sqrt(2 / 4000))
    assert row["reduction"] == pytest.approx(1 - after / now, abs=4 * row["reduction_se"])
    assert row["reduction_se"] < 0.02
    assert row["narrower"] == pytest.approx(1 - np.sqrt(1 - row["reduction"]))


def test_more_is_better_and_nothing_to_learn_is_nothing(post: xr.DataTree) -> None:
    near, far, long = (Candidate(size, (0.0, kl)) for size, kl in ((1e7, 0.2), (1e9, 0.2), (1e9, 40.0)))
    many, blurred = Candidate(1e9, (0.0, 40.0), runs=6), Candidate(1e9, (0.0, 40.0), gold_se=50.0)
    found = goldpeak.next_measurement(post, [near, far, long, many, blurred])
    reduction = found.table["reduction"].to_numpy()
    error = 3 * found.table["reduction_se"].max()
    assert (found.best, found.rm_params) == (many, 1e9)
    assert reduction[3] > reduction[2] > reduction[1] > reduction[0] - error
    assert abs(reduction[4]) < error
    assert found.table["rm_params"].tolist() == [1e7, 1e9, 1e9, 1e9, 1e9]
    assert found.table["extrapolated"].tolist() == [False, True, True, True, True]


def test_noise_is_by_default_what_the_fitted_points_scatter(post: xr.DataTree) -> None:
    found = goldpeak.next_measurement(post, [Candidate(1e9, (0.0, 40.0)), Candidate(1e9, (0.0, 40.0), gold_se=0.5)])
    assert found.table["gold_se"].tolist() == [pytest.approx(0.03, rel=0.35), 0.5]


def test_peaks_out_of_range_are_taken_to_be_at_its_end(post: xr.DataTree) -> None:
    found = goldpeak.next_measurement(post, [Candidate(1e9, (0.0, 40.0))], kl_max=5.0)
    kl = peak_draws(new_curves(post, [1e9, 1e9]), 5.0)[0][..., 0]
    smallest = post["constant_data"]["kl"].values.min()
    assert found.kl_min == smallest
    assert found.p_censored == np.mean((kl < smallest) | (kl > 5.0)) > 0.5
    assert found.variance_now == pytest.approx(np.var(np.log(np.clip(kl, smallest, 5.0)), ddof=1))


def test_same_seed_same_answer(post: xr.DataTree) -> None:
    one = [Candidate(1e8, (0.0, 20.0))]
    first, again, other = (
        goldpeak.next_measurement(post, one, seed=seed).table["reduction"].item() for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda post: goldpeak.next_measurement(post, []), "candidates holds nothing"),
        (lambda post: goldpeak.next_measurement(post, [Candidate(1e8, (0, 20))], kl_max=-1.0), "kl_max is -1.0"),
        (lambda post: goldpeak.next_measurement(post, [Candidate(1e8, (0, 20))], -1.0), "rm_params holds -1.0"),
        (
            lambda _: Candidate(-1.0, (3.0, 2.0), points=0, gold_se=0.0, runs=0),
            "rm_params is -1.0.*kl is .3.0, 2.0.*points is 0.*runs is 0.*gold_se is 0.0",
        ),
        (lambda _: Candidate("3M", kl=20.0), "rm_params is '3M'.*kl is 20.0; allowed: a lower and a higher end"),  # type: ignore[arg-type]
        (lambda _: Candidate(1e8, kl=(0.0, 1.0, 2.0)), "kl is .0.0, 1.0, 2.0.; allowed"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_refused(post: xr.DataTree, make: object, message: str) -> None:
    with pytest.raises(FitError, match=message):
        make(post)  # type: ignore[operator]


def paper_fleet() -> xr.Dataset:
    table = simulate.table(np.random.default_rng(0), sd=0.03, beta=0.32, beta_slope=-0.01, kl_max=60.0)
    return goldpeak.read_runs(table, gold_scale=1.0)


def drawn_fleet() -> xr.Dataset:
    design = Fleet((1e6, 1e7, 1e8), rms_per_size=2, points=10, kl_min=0.3, kl_max=40.0)
    return simulation.simulate(goldpeak.load_card("similar"), design, seed=4).runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("card", "fleet", "fits", "draws", "limit"),
    [("rl_paper", paper_fleet, 28, (4000, 300), 120.0), ("similar", drawn_fleet, 8, (1000, 400), 80.0)],
)
def test_refits_with_simulated_measurements_have_the_expected_variance(
    card: str, fleet: Callable[[], xr.Dataset], fits: int, draws: tuple[int, int], limit: float
) -> None:
    runs = fleet()
    post = goldpeak.fit(runs, card, draws=draws[0], kl_max=limit)
    candidate = Candidate(TARGET, (0.0, 40.0), gold_se=0.03, runs=4)
    found = goldpeak.next_measurement(post, [candidate], TARGET)
    rng = np.random.default_rng(6)
    gold = new_curves(post, [TARGET] * candidate.runs, seed=7).gold(candidate.d)
    gold = gold.reshape(-1, candidate.runs, candidate.points)
    variance = []
    for k in range(fits):
        drawn = gold[rng.integers(len(gold))]
        drawn = drawn + candidate.gold_se * rng.standard_normal(drawn.shape)
        names = {"rm_params": TARGET, "method": "rl", "kl": candidate.d**2, "gold_se": candidate.gold_se}
        new = [pd.DataFrame({"run": f"new{r}", "rm": f"new{r}", "gold": each} | names) for r, each in enumerate(drawn)]
        table = pd.concat([as_table(runs), *new])
        both = goldpeak.read_runs(table, baseline="none", gold_scale=runs.attrs["gold_scale"])
        again = goldpeak.fit(both, card, draws=draws[1], kl_max=limit)
        kl = peak_draws(new_curves(again, [TARGET], seed=k), limit)[0]
        variance.append(np.var(np.log(np.clip(kl, found.kl_min, limit))))
    error = np.std(variance, ddof=1) / np.sqrt(fits)
    expected = found.table["variance_expected"].item()
    assert np.mean(variance) == pytest.approx(expected, abs=3 * error)
    assert expected < found.variance_now - 3 * error
