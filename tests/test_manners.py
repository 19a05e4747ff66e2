"""The command line on a terminal, in a pipe, when asked to be quiet, and when a shell asks how to complete a word."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from typer.main import get_command

from goldpeak import cli
from goldpeak.cli import show
from goldpeak.cli.app import app
from goldpeak.errors import FitError
from goldpeak.stack import STACK

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
COMMANDS = sorted(get_command(app).commands)
SLOW = """
    import logging, sys, time
    from goldpeak import cli
    from goldpeak.cli import progress, show
    import goldpeak.library
    progress.AFTER = 0.2
    log = logging.getLogger("goldpeak.somewhere")
    def models():
        log.info("counting [cards]")
        time.sleep(1.0)
        show.note("a note")
        raise goldpeak.errors.FitError("no [cards]")
    goldpeak.library.models = models
    import goldpeak.errors
    sys.exit(cli.main(sys.argv[1:]))
"""


def on_terminal(*words: str, **environment: str) -> str:
    """What a user sees of a slow command."""
    ours, theirs = pty.openpty()
    without = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW), *words],
        stdout=theirs,
        stderr=theirs,
        env=without | {"TERM": "xterm", "COLUMNS": "100"} | environment,
    )
    os.close(theirs)
    seen = b""
    while part := _read(ours):
        seen += part
    process.wait()
    os.close(ours)
    return seen.decode()


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # the other side is closed
        return b""


def test_a_terminal_sees_what_is_going_on_and_nothing_of_it_is_left():
    seen = on_terminal("models")
    assert "counting [cards]" in seen
    assert "0:00:00" in seen
    assert "a note" in seen
    assert seen.rindex("\x1b[?25h") < seen.rindex("Error:")  # the cursor is back
    assert "counting" not in seen[seen.rindex("\x1b[2K") :]


def test_quiet_leaves_only_errors():
    seen = on_terminal("--quiet", "models")
    assert "counting" not in seen
    assert "a note" not in seen
    assert "no [cards]" in seen


def test_no_color_is_heeded():
    assert "\x1b[1;31mError:" in on_terminal("models")
    seen = on_terminal("models", NO_COLOR="1")
    assert "31m" not in seen
    assert "Error:" in seen


def test_a_pipe_sees_no_progress_but_all_messages_when_asked():
    def stderr(*words: str) -> str:
        command = [sys.executable, "-c", textwrap.dedent(SLOW), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout == ""
        return done.stderr

    assert stderr("models") == "a note\nError: no [cards]\n"
    assert stderr("-v", "models").splitlines()[0] == "goldpeak.somewhere: counting [cards]"
    assert stderr("-q", "--debug", "models").splitlines()[-1] == "Error: no [cards]"


def test_short_options_may_be_put_together(monkeypatch, capsys):
    def models():
        logging.getLogger("goldpeak.somewhere").info("counting")
        show.note("a note")
        raise FitError("none")

    monkeypatch.setattr("goldpeak.library.models", models)
    assert cli.main(["-qv", "models"]) == 2
    assert capsys.readouterr().err == "goldpeak.somewhere: counting\nError: none\n"


def test_quick_commands_show_no_line():
    began = time.monotonic()
    with show.working():
        pass
    assert time.monotonic() - began < 0.5
    assert not logging.getLogger("goldpeak").handlers


def test_quiet_lasts_for_one_command(capsys):
    assert cli.main(["-q", "models"]) == 0
    assert "rl_paper" in capsys.readouterr().out
    show.note("loud again?")
    assert capsys.readouterr().err == ""
    assert cli.main(["models"]) == 0
    show.note("loud again")
    assert capsys.readouterr().err == "loud again\n"


def test_version_names_the_stack(capsys):
    assert cli.main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("goldpeak ")
    assert all(f"{name} " in out for name in (*STACK, "python"))


def complete(words: str, word: int, shell: str = "bash") -> list[str]:
    asked = {"_GOLDPEAK_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(word)}
    command = [sys.executable, "-m", "goldpeak"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_shells_complete_commands_options_cards_and_engines():
    assert complete("goldpeak pe", 1) == ["peak"]
    assert complete("goldpeak fit --se", 2) == ["--seed"]
    assert complete("goldpeak fit --card rl_", 3) == ["rl_log1p", "rl_paper"]
    assert complete("goldpeak models sim", 2) == ["similar", "similar_bon"]
    assert complete("goldpeak fit --engine la", 3) == ["laplace_is"]


def test_completion_script_is_shown(capsys, monkeypatch):
    # Which shell it is for is found among the parents of the process, and a worker of pytest may have none.
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    assert cli.main(["--show-completion", "bash"]) == 0
    assert "_GOLDPEAK_COMPLETE=complete_bash" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_a_place_in_the_readme(command, capsys):
    assert cli.main([command, "--help"]) == 0
    assert f"goldpeak {command}" in capsys.readouterr().out.split("Example")[1]
    assert f"goldpeak {command}" in README


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_has_help(command):
    for parameter in get_command(app).commands[command].params:
        assert parameter.help, f"{command}: {parameter.name}"


def test_the_package_says_that_it_is_typed():
    import goldpeak

    assert (Path(goldpeak.__file__).parent / "py.typed").is_file()
