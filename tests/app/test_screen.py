"""Plain lines in a pipe, tables on a terminal, and nothing from elsewhere that commands either."""

from __future__ import annotations

import io

from tandem.screen import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_tabs_and_no_colours() -> None:
    out = io.StringIO()
    screen = Screen(out)
    with screen.busy("working"):
        screen.say("a line", "red")
    screen.table("Title", ["a", "b"], [["1", "2"], ["[red]x[/red]", "y" * 200]])
    assert out.getvalue() == f"a line\nTitle\na\tb\n1\t2\n[red]x[/red]\t{'y' * 200}\n"


def test_a_terminal_gets_a_table(monkeypatch: object) -> None:
    out = Terminal()
    screen = Screen(out)
    assert screen.is_terminal
    screen.table("Title", ["what", "verdict"], [["x", "ok"]])
    assert "│" in out.getvalue()
    assert "verdict" in out.getvalue()


def test_control_characters_do_not_get_through() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(out, err)
    screen.say("a\x1b[2Jb\nc")
    screen.problem("d\re")
    screen.table("t", ["\x07"], [["\x9b"]])
    assert not {c for c in out.getvalue() + err.getvalue() if not c.isprintable()} - {"\n", "\t"}
    assert err.getvalue() == "d e\n"
