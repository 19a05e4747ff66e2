"""The experiment's settings: defaults, reading TOML, and every problem at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from goldpeak.errors import CardError
from goldpeak.lab import LabConfig


def write(folder: Path, text: str) -> Path:
    path = folder / "world.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_from_toml_keeps_defaults_of_what_is_not_given(tmp_path: Path) -> None:
    config = LabConfig.from_toml(write(tmp_path, "seed = 7\ns = 1\none_layer = [4, 6]\n"))
    assert config == dataclasses.replace(LabConfig(), seed=7, s=1.0, one_layer=(4, 6))
    assert isinstance(config.s, float)
    assert hash(config) == hash(dataclasses.replace(config))


def test_every_setting_survives_toml(tmp_path: Path) -> None:
    lines = [f"{k} = {list(v) if isinstance(v, tuple) else v}" for k, v in dataclasses.asdict(LabConfig()).items()]
    assert LabConfig.from_toml(write(tmp_path, "\n".join(lines))) == LabConfig()


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = 'sed = 1\nseeds = "four"\ndim = 0\ns = 0.0\nepochs = true\none_layer = [2, 2]\ntwo_layer = 16'
    text += "\nlabel_noise = 0.7"
    with pytest.raises(CardError) as caught:
        LabConfig.from_toml(write(tmp_path, text))
    assert caught.value.source == "world.toml"
    for start in ("unknown key 'sed'", "seeds ", "dim ", "s ", "epochs ", "one_layer ", "two_layer ", "label_noise "):
        assert sum(p.startswith(start) for p in caught.value.problems) == 1, start
    assert len(caught.value.problems) == 8


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("seed = ", "TOML"),
        ("rl_lr = nan", "rl_lr"),
        ("one_layer = []\ntwo_layer = []", "empty"),
        ("pairs = 5", "rm_batch"),
    ],
)
def test_single_problems(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(CardError, match=word):
        LabConfig.from_toml(write(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="cannot be read"):
        LabConfig.from_toml(tmp_path / "none.toml")


def test_constructor_checks_too() -> None:
    with pytest.raises(CardError, match="bon_pools must be >= 2"):
        LabConfig(bon_pools=1)
