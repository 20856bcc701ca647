"""Frames of one size, however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_codecs.frames import Framer


def test_nothing_comes_until_a_frame_is_full() -> None:
    framer = Framer(4)
    assert framer.feed(b"abc") == []
    assert framer.pending == 3
    assert framer.feed(b"") == []
    assert framer.feed(b"d") == [b"abcd"]
    assert framer.pending == 0
    assert framer.feed(b"efghijklm") == [b"efgh", b"ijkl"]
    assert framer.pending == 1


def test_a_whole_frame_passes_as_the_same_object() -> None:
    frame = bytes(range(160))
    (same,) = Framer(160).feed(frame)
    assert same is frame


def test_flush_gives_the_rest_once_and_starts_over() -> None:
    framer = Framer(4)
    framer.feed(b"abcdef")
    assert framer.flush() == b"ef"
    assert framer.flush() == b""
    assert framer.feed(b"ghij") == [b"ghij"]


@pytest.mark.parametrize("size", [0, -1])
def test_a_frame_needs_a_size(size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        Framer(size)


def test_it_prints_itself() -> None:
    assert repr(Framer(160)) == "Framer(160)"


@given(size=st.integers(1, 12), pieces=st.lists(st.binary(max_size=30), max_size=20))
def test_any_split_same_frames(size: int, pieces: list[bytes]) -> None:
    framer = Framer(size)
    frames = [frame for piece in pieces for frame in framer.feed(piece)]
    whole = b"".join(pieces)
    assert all(len(frame) == size for frame in frames)
    assert len(frames) == len(whole) // size
    assert framer.pending == len(whole) % size
    assert b"".join(frames) + framer.flush() == whole
