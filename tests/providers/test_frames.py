"""Framing against RFC 6455, without a socket: any split gives the same messages, and every offence has its code."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_providers import frames
from tandem_providers.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, FrameReader

MASK = b"\x01\x80\xfe\x37"


def server_reader(max_message: int = 100_000) -> FrameReader:
    """What a server reads with: frames come masked."""
    return FrameReader(masked=True, max_message=max_message)


def piece(opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0) -> bytes:
    """One frame of a client, which need not be a whole message."""
    whole = frames.client_frame(opcode, payload, MASK)
    return bytes(((0x80 if final else 0) | reserved | opcode,)) + whole[1:]


def violation(data: bytes, max_message: int = 100_000) -> int:
    reader = server_reader(max_message)
    reader.feed(data)
    assert reader.violation is not None, "accepted"
    assert reader.feed(piece(TEXT, b"more")) == []
    return reader.violation.code


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 90_000])
def test_every_length_there_and_back(size: int) -> None:
    payload = b"x" * size
    client = FrameReader(masked=False, max_message=100_000)
    assert client.feed(frames.server_frame(BINARY, payload)) == [(BINARY, payload)]
    assert server_reader().feed(frames.client_frame(TEXT, payload, MASK)) == [(TEXT, payload)]


messages = st.lists(
    st.tuples(st.sampled_from([TEXT, BINARY]), st.text(max_size=200).map(str.encode), st.integers(1, 4))
    | st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125), st.just(1)),
    max_size=6,
)


@given(messages, st.lists(st.integers(0, 2000), max_size=12))
def test_any_split_gives_the_same_messages(sent: list[tuple[int, bytes, int]], cuts: list[int]) -> None:
    stream = b""
    for opcode, payload, pieces in sent:
        step = max(1, -(-len(payload) // pieces))
        parts = [payload[at : at + step] for at in range(0, len(payload), step)] or [b""]
        for index, part in enumerate(parts):
            stream += piece(CONTINUATION if index else opcode, part, final=index == len(parts) - 1)
    reader, received = server_reader(), []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, stop in pairwise(edges):
        received += reader.feed(stream[start:stop])
    assert received == [(opcode, payload) for opcode, payload, _ in sent]
    assert reader.violation is None


def test_control_frames_come_between_the_pieces_of_a_message() -> None:
    stream = piece(TEXT, b"hel", final=False) + piece(PING, b"!") + piece(CONTINUATION, b"lo")
    assert server_reader().feed(stream) == [(PING, b"!"), (TEXT, b"hello")]


def test_a_character_may_be_cut_by_pieces_but_not_by_the_end() -> None:
    first, rest = "é".encode()[:1], "é".encode()[1:]
    assert server_reader().feed(piece(TEXT, first, final=False) + piece(CONTINUATION, rest)) == [(TEXT, "é".encode())]
    assert violation(piece(TEXT, first)) == 1007


def test_what_comes_before_a_violation_is_delivered() -> None:
    reader = server_reader()
    assert reader.feed(piece(TEXT, b"good") + piece(TEXT, b"\xff")) == [(TEXT, b"good")]
    assert reader.violation is not None


def test_early_bytes_come_first() -> None:
    whole = piece(TEXT, b"early") + piece(TEXT, b"later")
    reader = FrameReader(masked=True, max_message=100, early=whole[:9])
    assert reader.feed(whole[9:]) == [(TEXT, b"early"), (TEXT, b"later")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frames.server_frame(TEXT, b"bare"), 1002, id="unmasked from a client"),
        pytest.param(piece(TEXT, b"", reserved=0x40), 1002, id="reserved bit (compressed)"),
        pytest.param(piece(0x3, b""), 1002, id="unknown data opcode"),
        pytest.param(piece(0xB, b""), 1002, id="unknown control opcode"),
        pytest.param(piece(PING, b"", final=False), 1002, id="ping in pieces"),
        pytest.param(piece(PING, b"x" * 126), 1002, id="long ping"),
        pytest.param(piece(CONTINUATION, b""), 1002, id="nothing to continue"),
        pytest.param(piece(TEXT, b"", final=False) + piece(TEXT, b""), 1002, id="new message inside another"),
        pytest.param(piece(CLOSE, b"\x03"), 1002, id="half a close code"),
        pytest.param(piece(CLOSE, (1005).to_bytes(2)), 1002, id="close code that may not be sent"),
        pytest.param(piece(CLOSE, (2999).to_bytes(2)), 1002, id="unassigned close code"),
        pytest.param(piece(CLOSE, (1000).to_bytes(2) + b"\xff"), 1007, id="close reason not UTF-8"),
        pytest.param(piece(TEXT, b"\xed\xa0\x80"), 1007, id="surrogate"),
        pytest.param(b"\x81\xff" + (1 << 63).to_bytes(8) + MASK, 1009, id="absurd length"),
    ],
)
def test_an_offence_has_its_code(data: bytes, code: int) -> None:
    assert violation(data) == code


def test_masked_from_a_server_is_an_offence() -> None:
    reader = FrameReader(masked=False, max_message=100)
    assert reader.feed(piece(TEXT, b"hi")) == []
    assert reader.violation is not None
    assert reader.violation.code == 1002


def test_a_message_is_refused_by_its_announced_size_whole_or_in_pieces() -> None:
    assert server_reader(100).feed(piece(TEXT, b"x" * 100)) == [(TEXT, b"x" * 100)]
    assert violation(piece(TEXT, b"x" * 101)[:8], max_message=100) == 1009
    parts = piece(BINARY, b"x" * 60, final=False) + piece(CONTINUATION, b"x" * 60)[:8]
    assert violation(parts, max_message=100) == 1009


def test_empty_pieces_are_fine_but_not_for_ever() -> None:
    empty = piece(CONTINUATION, b"", final=False)
    assert server_reader().feed(piece(TEXT, b"", final=False) + empty * 900 + piece(CONTINUATION, b"a")) == [
        (TEXT, b"a")
    ]
    assert violation(piece(TEXT, b"", final=False) + empty * 1100) == 1008


def test_close_frames_say_code_and_reason_or_nothing() -> None:
    assert frames.read_close(b"") == (1005, "")
    assert frames.close_payload(1005, "unsaid") == b""
    assert frames.read_close(frames.close_payload(4000, "bye")) == (4000, "bye")
    code, reason = frames.read_close(frames.close_payload(1011, "ü" * 100))
    assert (code, reason) == (1011, "ü" * 61)
