"""The models of the engines written out in full: one dense normal distribution of all points."""

from __future__ import annotations

import numpy as np
from scipy.stats import multivariate_normal

from goldpeak.card import Card, Coefficient, Constant, FormSpec, Noise, Smooth
from goldpeak.design import Design
from goldpeak.engines import nuts
from goldpeak.library import load_card
from goldpeak.noise import variance
from goldpeak.priors import HalfNormal, LogNormal, Normal

QUICK = "FAST_COMPILE"
"""Compiling takes longer than one evaluation."""
FULL = Card(
    name="full",
    title="every level at once",
    form=FormSpec("rl"),
    alpha=Coefficient(Constant(Normal(0.5, 0.7)), sd_rm=HalfNormal(0.1), sd_run=HalfNormal(0.1)),
    beta=load_card("rl").beta,
    discrepancy=Smooth(LogNormal(0.9, 0.4), shared=HalfNormal(0.3), shared_trend=HalfNormal(0.1), run=HalfNormal(0.15)),
    noise=Noise("known", HalfNormal(0.05)),
)


def dense_moments(design: Design, h: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the data given outer parameters, written out in full."""
    columns = design.form.basis(design.d, h.get("gamma", 0.0))
    rm = design.rm_index[design.run_index]
    same_rm, same_run = rm[:, None] == rm, design.run_index[:, None] == design.run_index
    mean, covariance = np.zeros(len(design.y)), noise_covariance(design, h)
    for i, (name, c) in enumerate(design.coefficients.items()):
        trend = c.columns[design.run_index] * columns[:, [i]]
        sd = np.where(c.drift, c.sd * h.get(f"{name}_drift", 1.0), c.sd)
        mean += trend @ c.mean
        outer = np.outer(columns[:, i], columns[:, i])
        covariance += (trend * sd**2) @ trend.T
        covariance += outer * same_rm * h.get(f"{name}_sd_rm", 0.0) ** 2
        covariance += outer * same_run * h.get(f"{name}_sd_run", 0.0) ** 2
    if design.sines:
        s = design.sines.columns(design.d)
        kernel = (s * design.sines.variances(h["lengthscale"])) @ s.T
        x = design.x[design.run_index]
        covariance += kernel * h.get("eta_shared", 0.0) ** 2
        covariance += kernel * np.outer(x, x) * h.get("eta_shared_trend", 0.0) ** 2
        covariance += kernel * same_run * h.get("eta_run", 0.0) ** 2
    return mean, covariance


def noise_covariance(design: Design, h: dict[str, float]) -> np.ndarray:
    """What measuring adds, of every kind that is Gaussian."""
    known = design.measurement
    same_run = design.run_index[:, None] == design.run_index
    found = np.diag(variance(design.se, h["sigma"]))
    if known.blocks is not None:
        found = np.diag(variance(known.from_kl, h["sigma"]))
        for mine, block in zip(known.members, known.blocks, strict=True):
            found[np.ix_(mine, mine)] += block
    if known.time is not None:
        apart = np.abs(known.time[:, None] - known.time)
        found = np.diag(variance(design.se, h.get("nugget", 0.0)))
        found += same_run * h["sigma"] ** 2 * np.exp(-apart / h["noise_lengthscale"])
    above = design.d > 0
    return found + same_run * np.outer(above, above) * h.get("offset_sd", 0.0) ** 2


def collapsed_and_dense(design: Design) -> tuple[float, float]:
    """Log density of gold in the nuts model, all coefficients integrated out, and as one dense normal."""
    model = nuts.build_model(design)
    h = {n: float(prior.from_normal(0.3)) for n, prior in design.outer.items()}
    point = {n if n == "gamma" else f"{n}_log__": np.asarray(v if n == "gamma" else np.log(v)) for n, v in h.items()}
    found = model.compile_logp(vars=model.observed_RVs, mode=QUICK)(point)
    mean, covariance = dense_moments(design, h)
    return float(found), float(multivariate_normal(mean, covariance).logpdf(design.y))
