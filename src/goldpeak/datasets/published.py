"""Published coefficients: facts read off papers and repositories, never raw data."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from goldpeak.datasets._files import open_bundled

__all__ = ["bon_rm_data", "gao2022", "gao2022_gold"]

GAO2022_SOURCE = (
    'digitised from figure 3 of Gao, Schulman & Hilton 2022, "Scaling Laws for Reward Model Overoptimization" '
    "(arXiv:2210.10760); the paper prints no table"
)
GAO2022_ERROR = (
    "two independent digitisations agree to +-0.002; alpha of RL is not stated by the paper: readings of its figures "
    "give 0.34 to 0.38, and no such value reproduces figure 1b exactly (RMS up to 0.09 for 12M)"
)
BON_RM_DATA_SOURCE = (
    "repository rush-srik/Overoptimization-Repro, coefficients_bon.md: a best-of-n reproduction that varies the amount "
    "of reward-model data (0.5B proxy, 8B gold, n = 1..128, so KL <= 3.86 nats)"
)


def gao2022() -> pd.DataFrame:
    """Coefficients of the paper's forms by size of reward model: digitised, not raw data.

    Returns
    -------
    pandas.DataFrame
        ``rm_params``, ``alpha_bon``, ``beta_bon`` (gold = d (alpha - beta d)) and ``beta_rl``
        (gold = d (alpha - beta log d)), with d = sqrt(kl) and gold in the paper's units. ``attrs``: ``source``,
        ``error``, ``alpha_rl_range``.

    References
    ----------
    Gao, Schulman & Hilton 2022, arXiv:2210.10760, figure 3.

    Examples
    --------
    >>> table = gao2022()
    >>> len(table), table.attrs["alpha_rl_range"]
    (9, (0.34, 0.38))
    """
    table = pd.read_csv(open_bundled("published/gao2022_coefficients.csv"))
    table.attrs |= {"source": GAO2022_SOURCE, "error": GAO2022_ERROR, "alpha_rl_range": (0.34, 0.38)}
    return table


def gao2022_gold(
    kl: ArrayLike, rm_params: float, method: Literal["bon", "rl"] = "bon", alpha_rl: float = 0.36
) -> NDArray[np.float64]:
    """Gold reward by the paper's own form and its digitised coefficients.

    Parameters
    ----------
    kl : array_like
        Nats, >= 0, any shape.
    rm_params : float
        One of the sizes of `gao2022`.
    method : {"bon", "rl"}
        d (alpha - beta d), or d (alpha - beta log d) with d = sqrt(kl); both are 0 at kl = 0.
    alpha_rl : float
        Alpha of RL, for which the figures allow 0.34 to 0.38.

    Returns
    -------
    array, shape of `kl`
        Gold reward in the paper's units.

    Raises
    ------
    ValueError
        For a size that is not tabulated (the message lists those that are), a negative kl, or another method.

    Examples
    --------
    >>> gao2022_gold([0.0, 4.0], 1.2e9).round(4).tolist()
    [0.0, 0.9212]
    """
    table = gao2022()
    row = table[np.isclose(table["rm_params"], rm_params, rtol=1e-6)]
    if row.empty:
        sizes = ", ".join(f"{size:g}" for size in table["rm_params"])
        raise ValueError(f"no coefficients for rm_params {rm_params:g}; tabulated sizes: {sizes}")
    kl = np.asarray(kl, dtype=float)
    if not np.all(kl >= 0):
        raise ValueError("kl must be >= 0")
    d = np.sqrt(kl)
    if method == "bon":
        return cast(NDArray[np.float64], d * (row["alpha_bon"].item() - row["beta_bon"].item() * d))
    if method == "rl":
        return cast(NDArray[np.float64], d * (alpha_rl - row["beta_rl"].item() * np.log(np.where(d > 0, d, 1.0))))
    raise ValueError(f"method must be 'bon' or 'rl', got {method!r}")


def bon_rm_data() -> pd.DataFrame:
    """Best-of-n coefficients by amount of reward-model data, from a public reproduction of the paper.

    Returns
    -------
    pandas.DataFrame
        ``rm_data`` (comparisons), ``alpha`` and ``beta`` of gold = d (alpha - beta d), and their 95 % bootstrap
        intervals ``alpha_lo``, ``alpha_hi``, ``beta_lo``, ``beta_hi``. ``attrs["source"]`` names the source.

    Examples
    --------
    >>> bon_rm_data()["rm_data"].tolist()
    [500, 1000, 4000, 8000, 60000]
    """
    table = pd.read_csv(open_bundled("published/bon_rm_data_coefficients.csv"))
    table.attrs["source"] = BON_RM_DATA_SOURCE
    return table
