from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.caller_audio import ANEW_CHUNKS, CallerAudio
from tandem.carriers.events import Media
from tandem_codecs.format import MULAW_8K

SILENCE = MULAW_8K.silence(20)


def frame(chunk: int, *, at: int | None = -1, number: bool = True) -> Media:
    timestamp = (chunk - 1) * 20 if at == -1 else at
    return Media(bytes([chunk % 251]) * MULAW_8K.frame_bytes, chunk if number else None, timestamp)


def heard(ears: CallerAudio, chunks: list[int], start: float = 10.0) -> list[int]:
    """The chunk numbers as they came out (0xFF, silence, as -1)."""
    out = b"".join(ears.accept(frame(chunk), start + i * 0.02) for i, chunk in enumerate(chunks))
    size = MULAW_8K.frame_bytes
    return [-1 if out[i] == 0xFF else out[i] for i in range(0, len(out), size)]


def ears() -> CallerAudio:
    return CallerAudio(MULAW_8K, 10.0)


def test_frames_in_order_pass_at_once_and_untouched() -> None:
    listener = ears()
    for chunk in range(1, 50):
        media = frame(chunk)
        assert listener.accept(media, 10 + chunk * 0.02) is media.audio
    assert listener.counters.silence_ms == 0


@pytest.mark.parametrize(
    "arrived",
    [[2, 1, 3, 4], [1, 3, 2, 4], [1, 4, 2, 3, 5], [1, 3, 4, 2, 5], [1, 4, 3, 2, 5], [2, 3, 1, 4], [3, 2, 1, 4]],
)
def test_swaps_of_up_to_three_frames_are_put_right(arrived: list[int]) -> None:
    listener = ears()
    assert heard(listener, arrived) == sorted(arrived)
    assert listener.counters.missing == 0


def test_a_frame_that_came_twice_or_too_late_is_dropped() -> None:
    listener = ears()
    assert heard(listener, [1, 2, 2, 3, 1, 4]) == [1, 2, 3, 4]
    assert listener.counters.late_or_twice == 2


def test_a_frame_that_never_comes_becomes_silence() -> None:
    listener = ears()
    assert heard(listener, [1, 2, 4, 5, 6, 7]) == [1, 2, -1, 4, 5, 6, 7]
    assert listener.counters.missing == 1
    assert heard(ears(), [1, 2, 6, 7, 8]) == [1, 2, -1, -1, -1, 6, 7, 8]


def test_waiting_for_a_frame_ends_by_the_clock_when_nothing_else_comes() -> None:
    listener = ears()
    listener.accept(frame(1), 10.0)
    assert listener.accept(frame(3), 10.02) == b""
    assert listener.tick(10.06) == b""
    assert listener.tick(10.081) == SILENCE + frame(3).audio


def test_a_carrier_that_sends_nothing_while_the_caller_is_silent_is_filled_by_the_clock() -> None:
    listener = ears()
    listener.accept(frame(1, at=0), 10.0)
    assert listener.tick(10.38) == b""
    assert listener.tick(10.42) == SILENCE * 21
    assert listener.tick(10.52) == SILENCE * 5
    # 600 ms were not sent; 520 ms of them are filled already
    assert listener.accept(frame(2, at=620), 10.62) == SILENCE * 4 + frame(2).audio
    assert listener.tick(10.90) == b""


def test_audio_delayed_by_the_network_is_never_thrown_away() -> None:
    listener = ears()
    listener.accept(frame(1), 10.0)
    assert len(listener.tick(10.5)) == 25 * len(SILENCE)
    late = b"".join(listener.accept(frame(chunk), 10.5) for chunk in range(2, 27))
    assert late == b"".join(frame(chunk).audio for chunk in range(2, 27))


def test_a_jump_of_the_carriers_clock_is_silence_and_small_jitter_is_none() -> None:
    listener = ears()
    listener.accept(frame(1, at=0), 10.0)
    assert listener.accept(frame(2, at=29), 10.02) == frame(2).audio
    assert listener.accept(frame(3, at=109), 10.04) == MULAW_8K.silence(60) + frame(3).audio
    assert len(listener.accept(frame(4, at=10**9), 10.06)) <= MULAW_8K.size(10_020)


def test_a_carrier_that_does_not_number_its_frames_is_believed() -> None:
    listener = ears()
    assert listener.accept(frame(9, number=False), 10.0) == frame(9).audio
    assert listener.accept(frame(4, number=False), 10.0) == frame(4).audio


@given(st.permutations(range(8)), st.integers(0, 3))
def test_whatever_order_each_frame_comes_out_at_most_once_and_in_order(order: list[int], base: int) -> None:
    chunks = [*range(1, 1 + base), *(1 + base + i for i in order), *range(9 + base, 16 + base)]
    out = [chunk for chunk in heard(ears(), chunks) if chunk != -1]
    assert out == sorted(set(out))


def test_a_carrier_that_begins_to_count_anew_is_heard_again() -> None:
    listener = ears()
    heard(listener, list(range(1, 101)))
    out = heard(listener, list(range(1, 61)), 12.0)
    assert out == list(range(ANEW_CHUNKS + 1, 61))
    assert listener.counters.late_or_twice == ANEW_CHUNKS
    assert listener.counters.silence_ms == 0


def test_what_comes_twice_is_not_taken_for_a_new_count() -> None:
    listener = ears()
    heard(listener, list(range(1, 101)))
    assert heard(listener, [*range(81, 101), *range(81, 101), 50, 101, 102], 12.0) == [101, 102]
