"""Framing against RFC 6455, without a socket: any split gives the same messages, and every offence has its code."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_providers import frames
from tandem_providers.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WHOLE_TEXT, FrameReader

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


def heard(reader: FrameReader, pieces: list[bytes], *, short: bool) -> tuple[list[tuple[int, bytes]], str]:
    """What a socket would be told, and how the far end broke the protocol."""
    out: list[tuple[int, bytes]] = []
    for data in pieces:
        whole = reader.single(data) if short else None
        if whole is None:
            out += reader.feed(data)
        else:
            out.append((TEXT if data[0] == WHOLE_TEXT else BINARY, whole))
    return out, str(reader.violation and (reader.violation.code, reader.violation.reason))


def raw_frame(
    opcode: int, payload: bytes, bits: int, size: int | None, *, masked: bool, lying: int, wide: bool
) -> bytes:
    """One frame, right or wrong: any first bits, the length in any of its three forms, and not always the true one."""
    length = len(payload) + lying if size is None else size
    length = max(0, length)
    form = 126 if wide and length < 126 else 127 if wide or length > 65535 else 126 if length > 125 else length
    announced = length.to_bytes(2 if form == 126 else 8) if form > 125 else b""
    if not masked:
        return bytes((bits | opcode, form)) + announced + payload
    hidden = bytes(each ^ MASK[at % 4] for at, each in enumerate(payload))
    return bytes((bits | opcode, 0x80 | form)) + announced + MASK + hidden


any_frame = st.builds(
    raw_frame,
    st.sampled_from([TEXT] * 6 + [CONTINUATION, BINARY, CLOSE, PING, PONG, 0x3]),
    st.sampled_from([0, 1, 2, 3, 4, 99, 100, 101, 124, 125, 126, 127, 128, 200, 300]).map(lambda size: b"a" * size)
    | st.text(max_size=30).map(str.encode)
    | st.binary(max_size=12),
    st.sampled_from([0x80] * 6 + [0x00, 0xC0, 0x90]),
    st.sampled_from([None] * 8 + [0, 65535]),
    masked=st.shared(st.booleans(), key="masked") | st.booleans(),
    lying=st.sampled_from([0] * 8 + [-1, 1]),
    wide=st.sampled_from([False] * 4 + [True]),
)


@given(
    st.shared(st.booleans(), key="masked"),
    st.lists(any_frame | st.binary(max_size=20), max_size=6),
    st.lists(st.integers(0, 600), max_size=3),
    st.sampled_from([100, 250, 100_000]),
)
def test_the_short_way_of_a_whole_frame_tells_the_same_as_the_long_one(
    masked: bool, sent: list[bytes], cuts: list[int], max_message: int
) -> None:
    stream = b"".join(sent)
    edges = sorted({0, *(min(cut, len(stream)) for cut in cuts), len(stream)})
    for pieces in (sent, [stream[start:stop] for start, stop in pairwise(edges)]):
        ways = [FrameReader(masked=masked, max_message=max_message) for _ in range(2)]
        assert heard(ways[0], pieces, short=True) == heard(ways[1], pieces, short=False)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_most_messages_take_the_short_way(masked: bool, opcode: int) -> None:
    reader = FrameReader(masked=masked, max_message=1000)
    for size in (6, 125, 126, 1000):
        payload = (b"x" if opcode == TEXT else b"\xff") * size
        whole = frames.client_frame(opcode, payload, MASK) if masked else frames.server_frame(opcode, payload)
        assert reader.single(whole) == payload
    assert reader.single(whole[:-1]) is None
