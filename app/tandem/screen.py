"""What a command shows: colours, tables and progress on a terminal, plain lines with tabs in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Screen:
    """Writes to standard output, and problems to standard error. Nothing that is shown is taken for markup."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = Console(file=out or sys.stdout, highlight=False, soft_wrap=True)
        self._err = Console(file=err or sys.stderr, highlight=False, soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        return self._out.is_terminal

    def say(self, text: str, style: str = "") -> None:
        """One line."""
        _print(self._out, _one_line(text), style)

    def problem(self, text: str) -> None:
        """One line of what went wrong."""
        _print(self._err, _one_line(text), "red")

    def misconfigured(self, problems: Iterable[str]) -> None:
        """What is wrong with the configuration, a line each."""
        for problem in problems:
            self.problem(f"configuration: {problem}")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows of cells: drawn on a terminal, else one line a row with tabs between the cells."""
        columns = [_one_line(column) for column in columns]
        rows = [[_one_line(cell) for cell in row] for row in rows]
        if not self.is_terminal:
            for row in ([_one_line(title)], columns, *rows):
                _print(self._out, "\t".join(row), "")
            return
        drawn = Table(title=_one_line(title), title_justify="left", title_style="bold", header_style="dim")
        for column in columns:
            drawn.add_column(column, overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
        self._out.print(drawn, soft_wrap=False)

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """While this is open, a terminal shows that something is being done."""
        if self.is_terminal:
            with self._out.status(Text(_one_line(text))):
                yield
        else:
            yield


def _print(console: Console, line: str, style: str) -> None:
    if console.is_terminal:
        console.print(Text(line, style))
    else:  # as it is: rich would turn tabs into spaces
        console.file.write(f"{line}\n")
        console.file.flush()


_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}


def _one_line(text: str) -> str:
    """What comes from elsewhere must not command the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
