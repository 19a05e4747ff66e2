"""What a notebook shows: posteriors and peaks as tables, with all text escaped."""

from __future__ import annotations

import numpy as np
import pytest

import goldpeak
from goldpeak.errors import FitError
from goldpeak.peaks import MOST_ROWS
from goldpeak.wording import html_table


@pytest.fixture(scope="module")
def post():
    return goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=250, seed=1)


def test_summary_holds_what_the_posterior_holds(post):
    found = goldpeak.summary(post, prob=0.8)
    assert (found.card, found.engine, found.prob) == ("rl_paper", "exact", 0.8)
    draws = post["posterior"]["sigma"].values.ravel()
    row = found.coefficients.loc["sigma"]
    assert row["lo"] < row["median"] < row["hi"]
    assert np.mean((draws >= row["lo"]) & (draws <= row["hi"])) == pytest.approx(0.8, abs=0.01)
    assert found.peak.table.equals(goldpeak.peak(post, prob=0.8).table)
    assert found.provenance["card_hash"] == post.attrs["card_hash"]
    assert "numpy" in found.provenance["versions"]


def test_summary_as_text_and_html(post):
    found = goldpeak.summary(post)
    assert str(found).startswith("rl_paper, engine exact (")
    assert "beta_coef[slope]" in str(found)
    html = found._repr_html_()
    assert html.count("<table>") == html.count("</table>") == 2
    assert "beta_coef[slope]" in html
    assert html.count("<tr>") == 2 + len(found.coefficients) + len(found.peak.table)


def test_a_peak_shows_sizes_infinities_and_how_far_it_extrapolates(post):
    html = goldpeak.peak(post, [1e4, 1e9], prob=0.5)._repr_html_()
    assert "<td" in html
    assert "1B" in html
    assert "50% interval" in html
    assert "prediction (new_run)" in html
    assert "decades" in html
    beyond = 10 * float(post["constant_data"]["rm_params"].max())
    assert ">1 decade<" in goldpeak.peak(post, [beyond])._repr_html_()


def test_of_many_rows_the_first_are_shown(post):
    found = goldpeak.peak(post, np.geomspace(1e2, 1e5, 2 * MOST_ROWS))
    html = found._repr_html_()
    assert html.count("<tr>") == 1 + MOST_ROWS
    assert f"{MOST_ROWS} of {2 * MOST_ROWS} rows" in html


def test_text_is_escaped(post):
    found = goldpeak.peak(post)
    found.table.index = found.table.index.map(lambda name: f"<script>{name}</script>")
    assert "<script>" not in found._repr_html_()
    assert "&lt;script&gt;" in found._repr_html_()
    assert "<b>" not in html_table(["<b>"], [["<b>"]], caption="<b>")


def test_budgets_and_decisions_show_themselves(post):
    found = goldpeak.budget(post, [1e4, 1e6], rule="all")
    html = found._repr_html_()
    assert html.count("<tr>") == 1 + len(found.table)
    assert "regret (0.25)" in html
    decision = goldpeak.Stopper(post, rm_params=1e3).update(kl=1.0, gold=0.5, gold_se=0.05, step=10)
    html = decision._repr_html_()
    assert ">go on<" in html
    assert f"{decision.p_past_peak:.2f}" in html


def test_a_probability_out_of_range_is_refused(post):
    with pytest.raises(FitError, match="prob is 2"):
        goldpeak.summary(post, prob=2)


def test_draws_of_a_prior_have_no_gates_to_sum_up():
    with pytest.raises(FitError, match="not sampled by fit"):
        goldpeak.summary(goldpeak.prior("rl_paper", draws=10))
