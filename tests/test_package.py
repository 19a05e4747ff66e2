"""The package from outside: quick to import, complete, documented, and whole when installed from its source archive."""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import goldpeak
from goldpeak.library import card_names

REPOSITORY = Path(__file__).resolve().parents[1]


def python(code: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_the_standard_library_only(tmp_path: Path) -> None:
    """That is why it is quick; `benchmarks/start.py` prints how quick."""
    code = "import sys; before = set(sys.modules); import goldpeak; print(*set(sys.modules) - before)"
    loaded = {name.partition(".")[0] for name in python(code, tmp_path).split()}
    assert loaded - sys.stdlib_module_names == {"goldpeak"}


def test_every_public_name_is_there() -> None:
    assert sorted(goldpeak.__all__) == goldpeak.__all__
    assert set(goldpeak.__all__) <= set(dir(goldpeak))
    for name in goldpeak.__all__:
        assert getattr(goldpeak, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = goldpeak.nothing


def documented() -> list[str]:
    plain = [name for name in goldpeak.__all__ if not inspect.ismodule(getattr(goldpeak, name))]
    return [name for name in plain if not _is_exception(getattr(goldpeak, name))]


def _is_exception(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, BaseException)


@pytest.mark.parametrize("name", documented())
def test_every_public_function_and_class_has_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(goldpeak, name)) or ""
    assert ">>> " in text.partition("Examples\n--------\n")[2]


def test_every_public_name_has_a_docstring_of_its_own() -> None:
    for name in goldpeak.__all__:
        thing = getattr(goldpeak, name)
        assert (inspect.getdoc(thing) or "").strip(), name
        if _is_exception(thing):
            assert thing.__doc__ not in {base.__doc__ for base in thing.__mro__[1:]}, name


def test_names_of_functions_are_not_hidden_by_modules() -> None:
    for module in ("fitting", "peaks", "prediction", "store", "library", "runs", "card", "curves"):
        importlib.import_module(f"goldpeak.{module}")
    for name in ("fit", "peak", "predict", "load", "save", "models", "read_runs"):
        assert callable(getattr(goldpeak, name)), name


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert goldpeak.__version__ == version("goldpeak")


@pytest.mark.slow
def test_a_wheel_from_the_source_archive_has_everything(tmp_path: Path) -> None:
    """`build` makes the sdist, and the wheel from the sdist: what the sdist lacks, the wheel lacks."""
    built = tmp_path / "dist"
    command = [sys.executable, "-m", "build", "--outdir", str(built), str(REPOSITORY)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert archive.stat().st_size < 20e6
    installed = tmp_path / "installed"
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("needs uv to install the wheel")
    subprocess.run([uv, "pip", "install", "-q", "--no-deps", "--target", str(installed), str(wheel)], check=True)
    listed = subprocess.run(
        [sys.executable, str(installed / "bin" / "goldpeak"), "models"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(name in listed.stdout for name in card_names())
    code = """
import goldpeak
print(goldpeak.__file__)
print(*goldpeak.models().index)
post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", engine="exact", draws=100)
print(len(goldpeak.peak(post).table))
"""
    place, cards, runs = python(code, tmp_path, PYTHONPATH=str(installed)).splitlines()
    assert Path(place).is_relative_to(installed)
    assert cards.split() == card_names()
    assert int(runs) == goldpeak.datasets.lab("rl").sizes["run"]
