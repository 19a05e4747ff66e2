"""The reference of everything public and of every command, from docstrings.

``python tests/reference.py --write`` writes ``notebooks/reference.md``; without ``--write`` it is printed. A test holds
the file against the docstrings.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from typer.main import get_command

import goldpeak
from goldpeak.cli.app import app

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).resolve().parents[1] / "notebooks" / "reference.md"
HEAD = """# Reference

Everything public, and every command. Made from docstrings by `python tests/reference.py --write`: change those, not
this page. The examples run as tests."""
SECTION = re.compile(r"(?:^|\n)([A-Z][A-Za-z ]+)\n-{3,}\n")
LONG = 100
"""A signature of more characters has a line for each parameter."""


def page() -> str:
    """The whole page as Markdown."""
    names = sorted(goldpeak.__all__, key=str.casefold)
    things = {name: getattr(goldpeak, name) for name in names}
    modules = {name: thing for name, thing in things.items() if inspect.ismodule(thing)}
    parts = {
        "Functions": [_thing(f"goldpeak.{n}", t) for n, t in things.items() if inspect.isroutine(t)],
        "Classes": [_thing(f"goldpeak.{n}", t) for n, t in things.items() if inspect.isclass(t) and not _raised(t)],
        "Errors and warnings": [_thing(f"goldpeak.{n}", t) for n, t in things.items() if _raised(t)],
        **{f"Module goldpeak.{name}": _module(f"goldpeak.{name}", module) for name, module in modules.items()},
        "Commands": [_command(name, command) for name, command in sorted(get_command(app).commands.items())],
    }
    contents = "\n".join(f"- [{title}](#{_anchor(title)})" for title in parts)
    sections = [f"## {title}\n\n" + "\n\n".join(found) for title, found in parts.items()]
    return "\n\n".join([HEAD, contents, *sections]) + "\n"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _raised(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Exception)


def _module(name: str, module: ModuleType) -> list[str]:
    return [_docstring(module), *(_thing(f"{name}.{each}", getattr(module, each)) for each in module.__all__)]


def _thing(name: str, thing: Any) -> str:
    """A function, class or constant under a heading of its own."""
    title = f"### {name}"
    if not callable(thing):
        return f"{title}\n\n`{thing!r}`"
    parts = [title]
    if not _raised(thing):
        parts.append(f"```python\n{_signature(name, thing)}\n```")
    parts.append(_docstring(thing))
    if inspect.isclass(thing) and not _raised(thing):
        parts += _members(thing)
    return "\n\n".join(part for part in parts if part)


def _members(thing: type) -> Iterator[str]:
    """Public methods and properties that the class documents itself."""
    for name, member in vars(thing).items():
        if name.startswith("_"):
            continue
        shown = getattr(thing, name)
        if isinstance(member, property):
            yield f"#### {thing.__name__}.{name}\n\n{_docstring(member)}"
        elif inspect.isroutine(shown):
            yield f"#### {thing.__name__}.{name}\n\n```python\n{_signature(name, shown)}\n```\n\n{_docstring(shown)}"


def _signature(name: str, thing: Any) -> str:
    """As one writes it, annotations without quotes; over several lines where it is long."""
    written = re.sub(r"(: |-> )'([^']*)'", r"\1\2", _quoted(name, thing))
    return written.replace("<factory>", "...")


def _quoted(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    if inspect.isclass(thing):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    short = name.rsplit(".", 1)[-1]
    if len(short + str(signature)) <= LONG:
        return f"{short}{signature}"
    back = signature.return_annotation
    lines, starred = [], False
    for parameter in signature.parameters.values():
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            lines.append("    *,")
            starred = True
        lines.append(f"    {parameter},")
    arrow = "" if back is signature.empty else f" -> {back if isinstance(back, str) else back.__name__}"
    return "\n".join([f"{short}(", *lines, f"){arrow}"])


def _docstring(thing: Any) -> str:
    """A numpydoc docstring as Markdown."""
    text, *sections = SECTION.split(inspect.getdoc(thing) or "")
    parts = [_prose(text)]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        if title == "Examples":
            parts.append(f"**Examples**\n\n```python\n{body.strip()}\n```")
        elif title in ("Notes", "References", "See Also"):
            parts.append(f"**{title}**\n\n{_prose(body)}")
        else:
            parts.append(f"**{title}**\n\n{_entries(body)}")
    return "\n\n".join(part for part in parts if part)


def _prose(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", text.strip())


def _entries(body: str) -> str:
    """``name : type`` and an indented description, as a list."""
    lines = []
    for line in body.strip().splitlines():
        if line.startswith(" "):
            lines.append(f"  {_prose(line)}")
        elif line.strip():
            name, colon, kind = line.partition(" : ")
            lines.append(f"- `{name}`{colon and f' ({_prose(kind)})'}:")
    return "\n".join(re.sub(r":$", "", line) if _bare(lines, i) else line for i, line in enumerate(lines))


def _bare(lines: list[str], i: int) -> bool:
    """Whether an entry has no description."""
    return lines[i].startswith("- ") and (i + 1 == len(lines) or lines[i + 1].startswith("- "))


def _command(name: str, command: Any) -> str:
    """A command of the command line: what it does, its arguments and options, its examples."""
    rows = ["| argument or option | what it is |", "|---|---|"]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        called = ", ".join(f"`{each}`" for each in (*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            called = f"`{(parameter.metavar or parameter.name).upper()}`"
        if parameter.required:
            called += " (required)"
        default = parameter.default
        told = default is not None and default != () and not callable(default) and not isinstance(default, bool)
        given = f" Default: `{default}`." if told and str(default) else ""
        rows.append(f"| {called} | {_prose(parameter.help or '').replace('|', chr(92) + '|')}{given} |")
    parts = [f"### goldpeak {name}", _prose(inspect.cleandoc(command.help or ""))]
    if len(rows) > 2:
        parts.append("\n".join(rows))
    if command.epilog:
        parts.append(f"```\n{inspect.cleandoc(command.epilog).strip()}\n```")
    return "\n\n".join(parts)


def main() -> None:
    """Print the page, or write it."""
    if "--write" in sys.argv:
        PAGE.write_text(page())
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
