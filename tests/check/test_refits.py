"""Refits: what is kept on disk, what an interruption or a damaged file does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import joblib
import numpy as np
import pytest
from interruptions import heeding_ctrl_c

import goldpeak
from goldpeak.check import refits as module
from goldpeak.check.folds import Fold, folds
from goldpeak.check.refits import refits
from goldpeak.errors import ConvergenceWarning, FitError, RunsWarning
from goldpeak.gates import Gates
from goldpeak.library import load_card
from goldpeak.subset import as_table

RUNS = goldpeak.datasets.lab("rl")
FEW = goldpeak.select(RUNS, (RUNS["rm_params"] > 1000) & (RUNS["seed"] < 2))


def sigma_task():
    """A function that travels by value: workers cannot import a test."""

    def sigma_of(post, fold):
        return float(post["posterior"]["sigma"].mean()), os.getpid(), fold.name

    return sigma_of


def fit_few(folder, **options):
    return refits(FEW, ["rl_paper"], folds(FEW, "small_to_large"), cache=folder, draws=150, jobs=1, **options)


def test_refits_say_what_is_wrong():
    with pytest.raises(FitError, match=r"two cards have the name 'rl'; .*there are no folds; engine is 'quick'"):
        refits(RUNS, ["rl", "rl"], [], engine="quick", cache=False)
    nothing = [Fold("mine", (), ("somebody",))]
    with pytest.raises(FitError, match=r"fold 'mine' fits no run; draws is 0; .*; chains is 1.5"):
        refits(RUNS, ["rl"], nothing, cache=False, draws=0, chains=1.5)
    with pytest.raises(FitError, match="cards is one card; allowed: a sequence"):
        refits(RUNS, "rl", folds(RUNS, "small_to_large"), cache=False)


def test_same_as_fit_in_the_order_of_cards_and_folds():
    some = folds(FEW, "small_to_large")
    found = refits(FEW, ["rl_paper", "bon_paper"], some, cache=False, draws=100, seed=3, jobs=2)
    assert [(r.card, r.fold) for r in found] == [(c, f) for c in ("rl_paper", "bon_paper") for f in some]
    alone = goldpeak.fit(some[0].split(FEW)[0], "rl_paper", seed=3, draws=100, kl_max=2 * float(FEW["kl"].max()))
    assert found[0].value["posterior"].to_dataset().identical(alone["posterior"].to_dataset())
    assert found[0].gates.passed


def test_task_runs_where_the_fit_is_made():
    found = refits(FEW, ["rl_paper"], folds(FEW, "small_to_large"), sigma_task(), cache=False, draws=150, jobs=2)
    assert all(r.value[0] > 0 and r.value[1] != os.getpid() and r.value[2] == r.fold.name for r in found)


def test_what_is_kept_is_not_fitted_again(tmp_path, monkeypatch):
    first = fit_few(tmp_path)
    assert len(list(tmp_path.glob("*.nc"))) == len(first)
    with monkeypatch.context() as context:
        context.setattr(module, "fit", lambda *args, **kwargs: pytest.fail("fitted again"))
        again = fit_few(tmp_path)
    assert all(a.value.identical(b.value) for a, b in zip(first, again, strict=True))
    for changed in ({"seed": 1}, {"kl_max": 100.0}):
        before = len(list(tmp_path.glob("*.nc")))
        fit_few(tmp_path, **changed)
        assert len(list(tmp_path.glob("*.nc"))) == before + len(first)


def test_gold_scale_is_part_of_the_key(tmp_path):
    fit_few(tmp_path)
    scaled = FEW.assign_attrs(gold_scale=2.0)
    refits(scaled, ["rl_paper"], folds(scaled, "small_to_large"), cache=tmp_path, draws=150, jobs=1)
    assert len(list(tmp_path.glob("*.nc"))) == 2 * len(folds(FEW, "small_to_large"))


def test_a_damaged_file_is_fitted_again(tmp_path):
    first = fit_few(tmp_path)
    for path in list(tmp_path.glob("*.nc"))[:1]:
        path.write_bytes(path.read_bytes()[:1000])
    again = fit_few(tmp_path)
    assert all(a.value.identical(b.value) for a, b in zip(first, again, strict=True))


def test_default_cache_forgets_what_was_used_longest_ago(tmp_path, monkeypatch):
    monkeypatch.setenv("GOLDPEAK_CACHE", str(tmp_path))
    fit_few(True)
    paths = sorted(tmp_path.glob("*.nc"), key=lambda p: p.stat().st_mtime)
    monkeypatch.setattr(module, "CACHE_LIMIT", paths[-1].stat().st_size)
    fit_few(True)
    assert len(list(tmp_path.glob("*.nc"))) == 1


def test_a_refused_fit_stops_no_other():
    falling = FEW.copy(deep=True)
    first = falling["run_index"].values == 0
    falling["gold"][first] = -np.arange(1.0, first.sum() + 1)
    last = folds(falling, "small_to_large")[-1:]
    found = refits(falling, ["similar", "rl_paper"], last, engine="fast", cache=False, draws=100, jobs=1)
    assert "gold never rises" in found[0].refused
    assert found[0].value is None
    assert found[1].refused == ""


def test_failed_gates_are_loud(monkeypatch):
    monkeypatch.setattr(module, "gates_of", lambda post: Gates(False, {}, ("it is a test",)))
    with pytest.warns(ConvergenceWarning, match=r"the gate of 1 of 1 refits failed, .*rl_paper \(up to 18817\)"):
        refits(FEW, ["rl_paper"], folds(FEW, "small_to_large", least=3)[:1], cache=False, draws=50, jobs=1)


SHARED = """
import sys
import goldpeak
from goldpeak.check.folds import folds
from goldpeak.check.refits import refits
runs = goldpeak.datasets.lab("rl")
refits(runs, ["rl_paper"], folds(runs, "small_to_large")[-2:], cache=sys.argv[1], draws=150, jobs=1)
"""


@pytest.mark.slow
def test_processes_share_a_folder(tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", SHARED, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".nc", ".nc"]


SLOWLY = """
import sys, time
import goldpeak
from goldpeak.check import refits as module
from goldpeak.check.folds import folds
runs = goldpeak.datasets.lab("rl")
fit, calls = module.fit, []
def slow(*args, **kwargs):
    if calls:
        time.sleep(60)
    calls.append(1)
    return fit(*args, **kwargs)
module.fit = slow
module.refits(runs, ["rl_paper"], folds(runs, "small_to_large")[-3:], cache=sys.argv[1], draws=150, jobs=1)
"""


@pytest.mark.slow
def test_an_interruption_leaves_whole_files_only(tmp_path):
    with heeding_ctrl_c():
        process = subprocess.Popen([sys.executable, "-c", SLOWLY, str(tmp_path)], stderr=subprocess.DEVNULL)
    until = time.time() + 60
    while not list(tmp_path.glob("*.nc")) and time.time() < until:
        time.sleep(0.1)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    (only,) = tmp_path.iterdir()
    assert goldpeak.load(only).attrs["card_name"] == "rl_paper"


@pytest.mark.slow
def test_works_on_a_dask_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    some = folds(FEW, "small_to_large")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        found = refits(FEW, ["rl_paper"], some, sigma_task(), cache=tmp_path, draws=150)
        workers = set(client.run(os.getpid).values())
    assert {r.value[1] for r in found} <= workers
    assert [r.fold for r in found] == list(some)
    here = refits(FEW, ["rl_paper"], some, sigma_task(), cache=tmp_path, draws=150, jobs=1)
    assert [r.value[0] for r in here] == [r.value[0] for r in found]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_workers_say_of_the_runs_is_told_once(jobs):
    card = replace(load_card("rl_paper"), noise=load_card("rl").noise)
    bare = goldpeak.read_runs(as_table(FEW).drop(columns="gold_se"))
    with pytest.warns(RunsWarning, match="no column gold_se") as told:
        refits(bare, [card], folds(bare, "small_to_large"), cache=False, draws=50, jobs=jobs)
    assert len([each for each in told if issubclass(each.category, RunsWarning)]) == 1
