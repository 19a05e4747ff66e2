"""The linearised design: its columns are derivatives."""

from __future__ import annotations

import dataclasses

import numpy as np
import simulate
from numpy.typing import NDArray

from goldpeak.design import make_design
from goldpeak.engines.linearised import linearise, start
from goldpeak.library import load_card

Array = NDArray[np.float64]


def test_columns_are_derivatives_of_the_curve() -> None:
    runs = simulate.runs(np.random.default_rng(2), sizes=(1e6, 1e8), points=9)
    design = make_design(runs, load_card("similar"))
    at = start(design)
    at = dataclasses.replace(at, bend=0.7, shape=0.05 * np.random.default_rng(1).standard_normal(len(at.shape)))

    def curve(point: object) -> Array:
        linear = linearise(design, point)
        # Response and columns at the point give the curve back: gold - curve = response - columns x point.
        own = np.zeros((len(design.run), design.sines.count))
        gamma = np.full(len(design.run), point.gamma)
        bend, shape = np.full_like(gamma, point.bend), np.tile(point.shape, (len(gamma), 1))
        theta = np.column_stack([point.log_d, point.log_gold, gamma, bend, shape, own])
        return design.y - linear.y + np.sum(linear.matrix * theta[design.run_index], axis=1)

    linear, step = linearise(design, at), 1e-6
    moves = {
        0: lambda by: dataclasses.replace(at, log_d=at.log_d + by),
        1: lambda by: dataclasses.replace(at, log_gold=at.log_gold + by),
        2: lambda by: dataclasses.replace(at, gamma=at.gamma + by),
        3: lambda by: dataclasses.replace(at, bend=at.bend + by),
        6: lambda by: dataclasses.replace(at, shape=at.shape + by * (np.arange(len(at.shape)) == 2)),
    }
    for column, move in moves.items():
        slope = (curve(move(step)) - curve(move(-step))) / (2 * step)
        np.testing.assert_allclose(linear.matrix[:, column], slope, atol=1e-6)
