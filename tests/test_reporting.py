"""The report says what the posterior says, escapes what users wrote, and stands alone."""

from __future__ import annotations

import html
import json
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest

import goldpeak
from goldpeak import cli, store, summits
from goldpeak.bon import kl_of_n, n_of_kl
from goldpeak.errors import FitError, StoreError
from goldpeak.gates import Gates
from goldpeak.io.sizes import size_of
from goldpeak.mixture import mix
from goldpeak.reporting.content import LEVELS, payload
from goldpeak.reporting.svg import MOST_POINTS, Plane, stop_plane
from goldpeak.store import stored_runs
from goldpeak.subset import as_table

EVIL = "<script>alert('{}')</script>"
VOID = {"meta", "input", "img", "br", "hr", "link"}


@pytest.fixture(scope="module")
def post():
    """Two sizes, two runs each, one of them named by somebody unkind."""
    runs = goldpeak.datasets.lab("rl")
    some = goldpeak.select(runs, np.isin(np.arange(40), (0, 1, 20, 21)))
    named = some.assign_coords(run=[EVIL.format(0), 'b" onload="x', "c&d", "e"])
    return goldpeak.fit(named, "rl_paper", draws=250, seed=1)


@pytest.fixture(scope="module")
def found(post):
    return goldpeak.report(post, [1e6, 1e4], title="A <b>bold</b> title & more")


@pytest.fixture(scope="module")
def page(found):
    return found.html()


class Reader(HTMLParser):
    """Tags in order, text by tag, attributes; and whether tags are closed in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.unbalanced = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        if self.open[-1] != tag:
            self.unbalanced.append(tag)
        self.open.pop()


@pytest.fixture(scope="module")
def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_it_is_one_small_file_that_fetches_nothing(page, read):
    assert len(page.encode()) < 3e6
    addresses = [value for _, name, value in read.attributes if name in ("src", "href", "action", "data", "srcset")]
    assert addresses
    assert all(value.startswith("data:image/svg+xml;base64,") for value in addresses)
    assert "link" not in read.tags
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_tags_are_balanced(read):
    assert read.unbalanced == []
    assert read.open == []


def test_all_text_of_users_is_escaped(page, read):
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#x27;0&#x27;)" in page
    assert "<b>bold</b>" not in page
    assert "A &lt;b&gt;bold&lt;/b&gt; title &amp; more" in page
    assert read.tags.count("script") == 3
    assert [name for _, name, _ in read.attributes if name.startswith("on")] == []


def test_the_verdict_has_the_numbers_of_peak_and_budget(found):
    shown = found.items[found.shown]
    assert shown.row["rm_params"] == 1e6
    row = found.budget.table.query("rule == 'regret' and rm_params == 1e6").iloc[0]
    assert found.verdict.startswith("For a new run against a reward model of 1M parameters, gold reward ")
    assert "90 % equal-tailed interval" in found.verdict
    assert ("no reason to stop" in found.verdict) == np.isinf(row["kl"])
    assert found.sizes["rm_params"].tolist() == [1e6, 1e4]
    assert found.budget.table["rm_params"].unique().tolist() == [1e6, 1e4]
    assert set(found.budget.table["rule"]) == {"regret", "expected", "chance", "cvar", "drawdown"}


def test_stops_of_the_page_are_those_of_the_table(found):
    level = LEVELS.index(0.25)
    for rule in ("regret", "expected", "chance", "cvar", "drawdown"):
        row = found.budget.table.query("rule == @rule and rm_params == 1e6").iloc[0]
        kl, gold, past = found.items[found.shown].stops[rule][level]
        assert kl == pytest.approx(row["kl"])
        assert gold == pytest.approx(row["gold_median"], rel=1e-6)
        assert past == pytest.approx(row["p_past_peak"], abs=1e-9)


def test_what_the_script_gets_is_json_without_markup(found):
    text = payload(found)
    assert not set("<>&") & set(text)
    content = json.loads(text)
    assert len(content["items"]) == len(found.items)
    for item, shown in zip(content["items"], found.items, strict=True):
        assert item["peak"][1] is None if np.isinf(shown.row["median"]) else item["peak"][1] > 0
        assert len(item["band"][1]) == len(content["d"])
        assert all(len(rows) == len(LEVELS) for rows in item["stops"].values())


def test_caveats_name_extrapolation_few_runs_and_a_rigid_form(found):
    said = " ".join(found.caveats)
    assert re.search(r"1M parameters lie [\d.]+ decades beyond the largest", said)
    assert "exactly right" in said


def test_a_small_kl_max_is_no_doubt_about_what_was_observed(post):
    said = " ".join(goldpeak.report(post, kl_max=0.05).caveats)
    assert "within the KL that was observed" not in said


def test_best_of_n_has_whole_n_beside_kl_in_the_chart_and_the_table():
    runs = goldpeak.datasets.lab("bon")
    some = goldpeak.select(runs, np.isin(np.arange(40), (0, 1, 20, 21)))
    post = goldpeak.fit(some, "bon_paper", draws=250, seed=1)
    found = goldpeak.report(post)
    page = found.html()
    kl = found.budget.table.query("rule == 'expected'").iloc[0]["kl"]
    assert f"<td>{int(n_of_kl(kl))}</td>" in page
    chart = page[page.index('<svg id="chart"') :]
    across = {text: float(x) for x, text in re.findall(r'<text x="([\d.]+)" y="47.0"[^>]*>([^<]+)</text>', chart)}
    plane = stop_plane(float(found.d[-1]), 0.0, 1.0, bon=True)
    assert len(across) >= 4
    for text, x in across.items():
        assert x == pytest.approx(plane.x(np.sqrt(kl_of_n(size_of(text)))), abs=0.06)
    no_stop = goldpeak.report(post, kl_max=0.05).html()
    assert "<td>inf</td><td>inf</td>" in no_stop
    assert "infB" not in no_stop


def test_a_failed_gate_comes_first_and_is_loud(post):
    bad = post.copy()
    bad.attrs = post.attrs | {"gates": Gates(False, {"ess": 3.0}, ("there are 3 effective draws",)).to_json()}
    found = goldpeak.report(bad)
    assert found.caveats[0].startswith("A check of the sampler failed, do not trust these numbers: there are 3")
    page = found.html()
    assert '<body class="failed">' in page
    assert "<li class=loud>A check" in page


def test_one_size_gives_a_page_on_its_runs():
    runs = goldpeak.select(goldpeak.datasets.lab("rl"), np.arange(40) < 4)
    post = goldpeak.fit(runs, "rl_paper", draws=250, seed=1)
    found = goldpeak.report(post)
    assert found.sizes is None
    assert len(found.items) == 4
    assert found.verdict.startswith("For run rl-w2-s0, gold reward ")
    assert any("one size" in text for text in found.caveats)
    assert "Add runs of another" in found.html()
    with pytest.raises(FitError, match="same rm_params"):
        goldpeak.report(post, [1e9])


def test_criticism_is_in_the_page(page, post):
    criticism = goldpeak.criticise(post)
    assert html.escape(criticism.recommendation) in page
    assert f"{criticism.table['p_loo'].iloc[2]:.3f}" in page


def test_a_mixture_names_its_cards_and_their_weights():
    runs = goldpeak.select(goldpeak.datasets.lab("rl"), np.isin(np.arange(40), (0, 1, 20, 21)))
    posts = {card: goldpeak.fit(runs, card, draws=150, seed=1) for card in ("rl_paper", "bon_paper")}
    found = goldpeak.report(mix(posts, {"rl_paper": 0.9, "bon_paper": 0.1}, how="by hand"))
    assert "The card rl_paper takes its form to be exactly right" in " ".join(found.caveats)
    assert "The card bon_paper" not in " ".join(found.caveats)
    page = found.html()
    assert "card rl_paper, weight 0.90" in page
    assert "--card auto" not in page
    assert page.count("<summary>The model card") == 2
    assert "The card bon_paper (weight 0.10) by itself:" in page


def test_the_same_posterior_gives_the_same_bytes(post):
    assert goldpeak.report(post).html() == goldpeak.report(post).html()


@pytest.mark.parametrize("options", [{"prob": 2}, {"level": 0}, {"rm_params": [-1.0]}, {"kl_max": -1}])
def test_what_is_out_of_range_is_refused(post, options):
    with pytest.raises(FitError, match="allowed"):
        goldpeak.report(post, **options)


def test_saving_is_whole_or_not_at_all(found, tmp_path):
    found.save(tmp_path / "a.html")
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
    with pytest.raises(StoreError, match="cannot be written"):
        found.save(tmp_path / "missing" / "a.html")


def test_command_writes_the_page_and_says_the_verdict(post, tmp_path, capsys):
    store.save(post, tmp_path / "post.nc")
    words = [
        "report",
        str(tmp_path / "post.nc"),
        "--rm-params",
        "1M",
        "--out",
        str(tmp_path / "r.html"),
        "--title",
        "T",
    ]
    assert cli.main(words) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("For a new run against a reward model of 1M parameters")
    assert (tmp_path / "r.html").read_text().count("<title>T</title>") == 1
    assert cli.main(["report", str(tmp_path / "post.nc"), "--out", str(tmp_path)]) == 2


def test_the_level_asked_for_is_among_those_of_the_slider(post):
    found = goldpeak.report(post, level=0.3)
    assert found.levels == (0.05, 0.1, 0.25, 0.3, 0.5)
    row = found.budget.table.query("rule == 'regret'").iloc[0]
    assert found.items[found.shown].stops["regret"][3][0] == row["kl"]
    assert re.search(r'id="level"[^>]* max="4" step="1" value="3"', found.html())


def shell_lines(page):
    """The commands that the page recommends."""
    return html.unescape(re.search(r"<pre>(goldpeak fit .*?)</pre>", page, re.DOTALL).group(1)).splitlines()


def test_the_commands_make_the_same_posterior_again(post, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_table(stored_runs(post)).to_csv("runs.csv", index=False)
    (tmp_path / "rl_paper.toml").write_text(post.attrs["card"])
    first, second = shell_lines(goldpeak.report(post).html())
    # To the last digit: smooth parts are made for it.
    assert float(re.search(r"--kl-max (\S+)", first).group(1)) == post.attrs["kl_max"]
    assert cli.main([*shlex.split(first.replace("RUNS", "runs.csv"))[1:]]) == 0
    again = goldpeak.load("post.nc")
    assert again["posterior"].to_dataset().drop_attrs().equals(post["posterior"].to_dataset().drop_attrs())
    assert cli.main(shlex.split(second)[1:]) == 0


def test_the_commands_mix_a_mixture_again(post, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = goldpeak.fit(stored_runs(post), "bon_paper", draws=150, seed=1)
    mixed = goldpeak.combine([post, other], weights={"rl_paper": 0.75, "bon_paper": 0.25}, seed=3)
    lines = shell_lines(goldpeak.report(mixed).html())
    assert [line.split(" --")[1] for line in lines[:2]] == ["card rl_paper.toml", "card bon_paper.toml"]
    for name, each in (("rl_paper", post), ("bon_paper", other)):
        goldpeak.save(each, f"{name}.nc")
    exec(shlex.split(lines[2])[2])
    assert goldpeak.load("post.nc")["posterior"].to_dataset().equals(mixed["posterior"].to_dataset())


def test_points_on_the_plane_stay_on_it():
    plane = Plane(300, 200, 4.0, -1.0, 1.0)
    assert plane.y(50.0) == plane.y(1.0)
    assert plane.x(0.0) == plane.left
    assert plane.x(4.0) == plane.width - plane.right


def test_runs_of_many_points_are_thinned(page):
    for panel in page.split("<figure>")[1:]:
        assert panel.count("<circle") <= MOST_POINTS


def test_summits_of_the_same_curves_are_looked_for_once(post, monkeypatch, tmp_path):
    plain, searched = goldpeak.report(post, [1e6, 1e4]).html(), []
    look = summits._search

    def counting(curves, kl_max):
        searched.append((curves.dim, len(curves.items), kl_max))
        return look(curves, kl_max)

    monkeypatch.setattr(summits, "_search", counting)
    store.save(post, tmp_path / "post.nc")
    words = ["report", str(tmp_path / "post.nc"), "--rm-params", "1e6,1e4", "--out", str(tmp_path / "page.html")]
    assert cli.main(words) == 0
    assert (tmp_path / "page.html").read_text() == plain
    assert len(searched) == len(set(searched)) == 3
    goldpeak.peak(post)
    goldpeak.peak(post)
    assert len(searched) == 5
