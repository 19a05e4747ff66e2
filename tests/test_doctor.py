"""The doctor finds what is broken, says what to do, and is quick where all is well."""

from __future__ import annotations

import json

import pytest

from goldpeak import cli, doctor
from goldpeak.doctor import Finding, examine
from goldpeak.gates import Gates


@pytest.fixture(scope="module")
def found() -> dict[str, Finding]:
    return {finding.check: finding for finding in examine()}


def test_a_whole_installation_has_no_fault(found):
    assert {finding.verdict for finding in found.values()} <= {"ok", "absent"}
    for engine in ("exact", "laplace_is"):
        assert "gates passed" in found[f"engine {engine}"].detail
    assert "pymc" in found["versions"].detail


def test_what_a_check_raises_is_a_fault(monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("boom\nand more")

    monkeypatch.setattr("goldpeak.fitting.fit", broken)
    checks = {finding.check: finding for finding in examine()}
    assert checks["engine exact"].verdict == "fault"
    assert checks["engine exact"].detail == "RuntimeError: boom and more"
    assert checks["engine exact"].next_step
    assert checks["cards"].verdict == "ok"


def test_a_wrong_answer_is_a_fault(monkeypatch):
    runs, truth = doctor._known_runs()
    monkeypatch.setattr(doctor, "_known_runs", lambda: (runs, [2.0 * kl for kl in truth]))
    assert doctor._engine("exact")[0] == "fault"


def test_a_failed_gate_is_a_fault(monkeypatch):
    monkeypatch.setattr("goldpeak.gates.gates_of", lambda _post: Gates(False, {"ess": 1.0}, ("too few",)))
    assert doctor._engine("exact")[0] == "fault"


def test_missing_distributions(monkeypatch):
    monkeypatch.setattr(doctor, "versions", lambda *_: {"python": "3"})
    assert doctor._versions()[:2] == ("fault", f"not installed: {', '.join(doctor.STACK)}")
    verdict, _, step = doctor._extra("lab")
    assert (verdict, step) == ("absent", "if you want it: pip install '.[lab]'")


def test_a_cache_that_cannot_be_written_is_a_fault(monkeypatch, tmp_path):
    monkeypatch.setattr("goldpeak.engines.nuts.compile_cache", lambda: tmp_path / "cache")
    assert doctor._compile_cache()[0] == "ok"
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    verdict, _, step = doctor._compile_cache()
    assert verdict == "fault"
    assert "base_compiledir" in step


FINDINGS = (Finding("cards", "ok", "8", 0.1), Finding("engine exact", "fault", "boom", 0.2, "do this"))


def test_command_tells_and_says_whose_turn_it_is(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda nuts: FINDINGS[: 1 + nuts])
    assert cli.main(["doctor"]) == 0
    assert cli.main(["doctor", "--nuts"]) == 1
    shown = capsys.readouterr()
    assert "engine exact: do this" in shown.out
    assert shown.err == "Error: this installation is not whole: engine exact\n"
    assert cli.main(["doctor", "--nuts", "--json"]) == 1
    assert [item["verdict"] for item in json.loads(capsys.readouterr().out)] == ["ok", "fault"]


@pytest.mark.slow
def test_nuts_passes_the_self_test():
    assert doctor._engine("nuts")[0] == "ok"
