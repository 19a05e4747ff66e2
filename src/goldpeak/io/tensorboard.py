"""TensorBoard event files, read with TensorBoard's own reader (extra ``tensorboard``; neither torch nor TensorFlow)."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from goldpeak.errors import RunsError
from goldpeak.io.log import Log, Roles, Series, parsing, uncapped

__all__ = ["EVENTS", "folders_with_events", "read_tensorboard"]

EVENTS = "events.out.tfevents."
DEEPEST = 4
EVERYTHING = {"scalars": 0, "tensors": 0, "images": 1, "audio": 1, "histograms": 1, "compressedHistograms": 1}
"""0 keeps all; TensorBoard's default keeps some of the points and says nothing."""
SETTINGS = "args/text_summary"
"""Where transformers writes the arguments of a run, as JSON."""


def folders_with_events(folder: Path) -> list[Path]:
    """Folders at or below this one that hold event files; links to folders are not followed."""
    found = []
    for place, children, files in os.walk(folder):
        if any(name.startswith(EVENTS) for name in files):
            found.append(Path(place))
        if len(Path(place).relative_to(folder).parts) >= DEEPEST:
            children.clear()
        children.sort()
    return found


def read_tensorboard(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read every scalar of an event file, or of a folder (at any depth, if only one folder holds event files).

    Values that a resumed run wrote again are all kept here, in the order of the files.

    Raises
    ------
    RunsError
        If there are no events, or event files lie in several folders, or the extra is not installed.
    """
    place = path if path.is_file() else _one_folder(path, source)
    with parsing(source, "TensorBoard events"):
        events = _events(place, source)
        scalars = events.Tags()["scalars"]
        tensors = [tag for tag in events.Tags()["tensors"] if _is_scalar(events, tag)]
    if not scalars and not tensors:
        raise RunsError(source, ["holds no scalars in its event files"])

    @functools.cache
    def one(key: str) -> Series:
        with parsing(source, "TensorBoard events"):
            return _scalars(events.Scalars(key)) if key in scalars else _tensors(events.Tensors(key))

    def load(asked: Sequence[str]) -> dict[str, Series]:
        return {key: one(key) for key in asked}

    keys = tuple(dict.fromkeys([*scalars, *tensors]))
    return [Log(run, source, "tensorboard", keys, load, _settings(events))]


def _one_folder(path: Path, source: str) -> Path:
    folders = folders_with_events(path)
    if not folders:
        raise RunsError(source, ["holds no TensorBoard event files"])
    if path in folders or len(folders) == 1:
        return folders[0]
    listed = ", ".join(str(folder.relative_to(path)) for folder in folders[:5]) + (", ..." if folders[5:] else "")
    text = f"holds event files in {len(folders)} folders ({ascii(listed)[1:-1]}); give one run's folder, several as "
    raise RunsError(source, [text + "several sources, or several parts of one run with --run NAME"])


def _events(place: Path, source: str) -> Any:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        text = "TensorBoard's reader is not installed; install the extra: pip install 'goldpeak[tensorboard]'"
        raise RunsError(source, [text]) from error
    # It logs a line for every damaged record; how much could be read is said in the end.
    logging.getLogger("tensorboard").setLevel(logging.CRITICAL)
    events = EventAccumulator(str(place), size_guidance=EVERYTHING, purge_orphaned_data=False)
    events.Reload()
    return events


def _is_scalar(events: Any, tag: str) -> bool:
    plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
    return bool(plugin == "scalars")


def _scalars(events: Sequence[Any]) -> Series:
    return _series([event.step for event in events], [event.value for event in events])


def _tensors(events: Sequence[Any]) -> Series:
    from tensorboard.util.tensor_util import make_ndarray

    return _series([event.step for event in events], [float(make_ndarray(event.tensor_proto)) for event in events])


def _series(steps: list[float], values: list[float]) -> Series:
    return Series(np.array(steps, dtype=float), uncapped(np.array(values, dtype=float)))


def _settings(events: Any) -> dict[str, str]:
    if SETTINGS not in events.Tags()["tensors"]:
        return {}
    try:
        settings = json.loads(events.Tensors(SETTINGS)[0].tensor_proto.string_val[0])
        return {str(key): str(value) for key, value in settings.items() if not isinstance(value, list | dict)}
    except (ValueError, AttributeError, IndexError, RecursionError):
        return {}
