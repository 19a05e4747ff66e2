"""A posterior that mixes several: which component each of its draws comes from, and the curves of such draws.

A mixture is a DataTree like any posterior. Its ``posterior`` group says of every draw which component it is of and
which of that one's draws; the group ``components`` holds the posteriors themselves, whole, by name. So whatever asks
for curves (`peak`, `predict`, `budget`) takes it, and a component can be had back as it was fitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.errors import FitError
from goldpeak.gates import Gates, gates_of

if TYPE_CHECKING:
    from goldpeak.curves import Curves
    from goldpeak.stretched import StretchedCurves

    type SomeCurves = Curves | StretchedCurves

__all__ = [
    "MixedCurves",
    "components",
    "is_mixture",
    "mix",
    "mixed_curves",
    "named_components",
    "of_other_runs",
    "systematic",
    "weights_of",
]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
COMPONENTS = "components"


@dataclass(frozen=True)
class MixedCurves:
    """Draws of gold curves of which each is one of a component's.

    Attributes
    ----------
    parts : tuple of Curves or StretchedCurves
        Each (1, its draws, item); only those that have draws.
    places : tuple of ndarray of int
        Where along all draws, chains one after another, the draws of each part belong.
    chains : int
    """

    parts: tuple[SomeCurves, ...]
    places: tuple[Rows, ...]
    chains: int

    @property
    def dim(self) -> str:
        """``run`` or ``rm_params``."""
        return self.parts[0].dim

    @property
    def items(self) -> NDArray[Any]:
        """Labels along `dim`."""
        return self.parts[0].items

    @property
    def grid(self) -> tuple[int, ...]:
        """Numbers of chains, draws and items."""
        count = sum(map(len, self.places))
        return self.chains, count // self.chains, self.parts[0].grid[-1]

    def gold(self, d: ArrayLike) -> Array:
        """Gold at d (square-root nats), shape (chain, draw, item, len(d))."""
        return self.gather([part.gold(d) for part in self.parts])

    def flat(self) -> MixedCurves:
        """The same curves with one long axis of (chain, draw, item): shape (1, all, 1)."""
        count = self.grid[-1]
        places = tuple((place[:, None] * count + np.arange(count)).ravel() for place in self.places)
        return MixedCurves(tuple(part.flat() for part in self.parts), places, 1)

    def part(self, draws: slice | Rows) -> MixedCurves:
        """Some of the draws of curves with one chain."""
        wanted = np.arange(self.grid[1])[draws]
        new = np.full(self.grid[1], -1)
        new[wanted] = np.arange(len(wanted))
        found = []
        for part, place in zip(self.parts, self.places, strict=True):
            kept = new[place] >= 0
            found.append((part.part(np.flatnonzero(kept)), new[place][kept]))
        return MixedCurves(*_present(found), 1)

    def gather(self, values: Sequence[Array]) -> Array:
        """Put together what was found for each part, (1, its draws, ...): shape (chain, draw, ...)."""
        chains, draws, _ = self.grid
        found = np.empty((chains * draws, *values[0].shape[2:]))
        for place, each in zip(self.places, values, strict=True):
            found[place] = each[0]
        return found.reshape(chains, draws, *found.shape[1:])


def is_mixture(post: xr.DataTree) -> bool:
    """Whether a posterior mixes others."""
    return COMPONENTS in post.children


def components(post: xr.DataTree) -> tuple[tuple[float, xr.DataTree], ...]:
    """Weights and posteriors that a posterior mixes; an ordinary one is its own only component.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> [(weight, each.attrs["card_name"]) for weight, each in components(post)]
    [(1.0, 'rl_paper')]
    """
    if not is_mixture(post):
        return ((1.0, post),)
    named = post.children[COMPONENTS].children
    return tuple((weight, named[name]) for name, weight in weights_of(post).items())


def named_components(post: xr.DataTree) -> dict[str, xr.DataTree]:
    """The posteriors that a mixture mixes, by name; {card: itself} for an ordinary one."""
    return dict(zip(weights_of(post), (each for _, each in components(post)), strict=True))


def weights_of(post: xr.DataTree) -> dict[str, float]:
    """Weight of each component by name, as stamped on a mixture; {card: 1.0} for an ordinary posterior."""
    if not is_mixture(post):
        return {str(post.attrs["card_name"]): 1.0}
    return dict(json.loads(post.attrs["weights"]))


def mix(posts: Mapping[str, xr.DataTree], weights: Mapping[str, float], *, how: str, seed: int = 0) -> xr.DataTree:
    """Mix posteriors of the same runs in given proportions.

    Parameters
    ----------
    posts : mapping of str to xarray.DataTree
        As `fit` returns them, by the names that they shall have.
    weights : mapping of str to float
        For each name; >= 0, summing to 1.
    how : str
        Where the weights come from, in words: stamped as ``engine_reason``.
    seed : int
        Seed of which draws are taken.

    Returns
    -------
    xarray.DataTree
        Chains and draws are those of the first posterior. A component has its share of them to the nearest whole number
        above or below, at random so that the expected number is exact (systematic resampling); the attribute
        ``mixed_draws`` says how many each got.

    Raises
    ------
    FitError
        If there are none, names and weights do not match, weights are no proportions, or posteriors are of other runs.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> posts = {card: goldpeak.fit(runs, card, draws=100) for card in ("rl_paper", "bon_paper")}
    >>> post = mix(posts, {"rl_paper": 0.75, "bon_paper": 0.25}, how="by hand")
    >>> post["posterior"]["component"].values.mean()
    np.float64(0.25)
    >>> goldpeak.peak(post, [1e5]).draws["kl_peak"].shape
    (4, 100, 1)
    """
    _refuse(posts, weights)
    names, first = list(posts), next(iter(posts.values()))
    share = np.array([weights[name] for name in names])
    chains, draws = (first["posterior"].sizes[dim] for dim in ("chain", "draw"))
    rng = np.random.default_rng([seed, 2])
    component = systematic(share, chains * draws, float(rng.random()))
    row = np.empty_like(component)
    for k, name in enumerate(names):
        row[component == k] = _rows(posts[name], int(np.sum(component == k)), rng)
    shuffled = rng.permutation(len(component))
    dims, shape = ("chain", "draw"), (chains, draws)
    posterior = xr.Dataset(
        {name: (dims, values[shuffled].reshape(shape)) for name, values in (("component", component), ("row", row))},
        coords={dim: first["posterior"][dim].values for dim in dims},
    )
    posterior["component"].attrs["names"] = ", ".join(names)
    groups = {"posterior": posterior} | {
        name: first[name].to_dataset() for name in ("observed_data", "constant_data") if name in first.children
    }
    post = xr.DataTree.from_dict(groups)
    post[COMPONENTS] = xr.DataTree.from_dict({f"/{name}": each for name, each in posts.items()})
    for name, each in posts.items():
        post.children[COMPONENTS].children[name].attrs = dict(each.attrs)
    counts = {name: int(np.sum(component == k)) for k, name in enumerate(names)}
    post.attrs = _stamp(posts, dict(zip(names, share.tolist(), strict=True)), counts, how, seed)
    return post


def mixed_curves(post: xr.DataTree, parts: Sequence[SomeCurves]) -> MixedCurves:
    """The draws of a mixture, from all the draws of each of its components."""
    posterior = post["posterior"].to_dataset()
    component, row = (posterior[name].transpose("chain", "draw").values.ravel() for name in ("component", "row"))
    places = tuple(np.flatnonzero(component == k) for k in range(len(parts)))
    found = [(part.one_chain().part(row[place]), place) for part, place in zip(parts, places, strict=True)]
    return MixedCurves(*_present(found), posterior.sizes["chain"])


def _present(found: list[tuple[SomeCurves, Rows]]) -> tuple[tuple[SomeCurves, ...], tuple[Rows, ...]]:
    """Parts that have draws, and their places."""
    there = [(part, place) for part, place in found if len(place)]
    return tuple(part for part, _ in there), tuple(place for _, place in there)


def mixed_gates(posts: Mapping[str, xr.DataTree]) -> Gates:
    """All components' gates in one: what failed in any fails in the mixture."""
    found = {name: gates_of(post) for name, post in posts.items()}
    return Gates(
        all(gates.passed for gates in found.values()),
        {f"{name} {what}": value for name, gates in found.items() for what, value in gates.measured.items()},
        tuple(f"{name}: {failure}" for name, gates in found.items() for failure in gates.failures),
    )


def systematic(weights: Array, count: int, start: float = 0.5) -> Rows:
    """So many indices, each as often as its weight says, to within one.

    Examples
    --------
    >>> systematic(np.array([0.5, 0.25, 0.25]), 4).tolist()
    [0, 0, 1, 2]
    """
    edges = np.cumsum(weights)
    at = (np.arange(count) + start) / count
    return cast(Rows, np.minimum(np.searchsorted(edges, at * edges[-1], side="right"), len(weights) - 1))


def of_other_runs(digests: Mapping[str, str]) -> list[str]:
    """What is wrong where posteriors, by the digests of their runs, are not all of the same; nothing else."""
    if len(set(digests.values())) < 2:
        return []
    listed = ", ".join(f"{name} {digest[:12]}" for name, digest in digests.items())
    return [f"posteriors are of different runs (digests: {listed}); fit all cards to the same runs"]


def _rows(post: xr.DataTree, count: int, rng: np.random.Generator) -> Rows:
    """So many of a posterior's draws, each as often as any other (to within one)."""
    available = post["posterior"].sizes["chain"] * post["posterior"].sizes["draw"]
    rounds = [rng.permutation(available) for _ in range(-(-count // available))]
    return np.concatenate([*rounds, np.empty(0, dtype=np.int64)])[:count]


def _refuse(posts: Mapping[str, xr.DataTree], weights: Mapping[str, float]) -> None:
    if not posts:
        raise FitError("there are no posteriors to mix")
    problems = []
    if set(posts) != set(weights):
        problems.append(f"weights are for {', '.join(weights)}, posteriors are {', '.join(posts)}")
    values = np.array(list(weights.values()), dtype=float)
    if not (np.all(np.isfinite(values)) and np.all(values >= 0) and abs(values.sum() - 1.0) < 1e-6):
        problems.append(f"weights are {', '.join(map(str, values))}; allowed: numbers >= 0 that sum to 1")
    problems += [f"{name!r} has a '/' in it" for name in posts if "/" in name]
    problems += [f"{name!r} is a mixture already" for name, post in posts.items() if is_mixture(post)]
    problems += of_other_runs({name: str(post.attrs.get("data_digest", "none")) for name, post in posts.items()})
    if problems:
        raise FitError("cannot mix: " + "; ".join(problems))


def _stamp(
    posts: Mapping[str, xr.DataTree], weights: dict[str, float], counts: dict[str, int], how: str, seed: int
) -> dict[str, Any]:
    first = next(iter(posts.values())).attrs
    shared = {name: first[name] for name in ("goldpeak_schema", "data_digest", "versions", "gold_scale", "n0")}
    return shared | {
        "card_name": " + ".join(posts),
        "engine": "mixture",
        "engine_reason": how,
        "seed": int(seed),
        "gates": mixed_gates(posts).to_json(),
        "kl_max": min(float(post.attrs["kl_max"]) for post in posts.values()),
        "weights": json.dumps(weights),
        "mixed_draws": json.dumps(counts),
    }
