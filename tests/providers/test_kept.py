"""What the caller said before there was a provider: complete, in order, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem_codecs.format import MULAW_8K, PCM16_24K
from tandem_providers.commands import CancelResponse, Command, CommitTurn, Purpose, Say, SendDtmf, SendText
from tandem_providers.kept import COMMANDS, Kept


def test_order_is_kept_between_audio_and_commands() -> None:
    kept = Kept(MULAW_8K, 1)
    assert kept.start == kept.end == 0
    kept.add_audio(b"ab")
    kept.add_audio(b"c")
    kept.add_command(CommitTurn())
    kept.add_command(SendDtmf("1"))
    kept.add_audio(b"d")
    assert list(kept.since(0)) == [b"abc", CommitTurn(), SendDtmf("1"), b"d"]
    assert list(kept.since(2, 1)) == [b"c", SendDtmf("1"), b"d"]
    assert list(kept.since(kept.end, kept.commands)) == []


def test_a_finished_turn_is_forgotten_with_its_commands_and_only_words_are_told_again() -> None:
    kept = Kept(MULAW_8K, 1)
    kept.add_audio(b"abcd")
    kept.add_command(SendDtmf("1"))
    kept.add_audio(b"efgh")
    kept.add_command(CancelResponse())
    kept.add_command(SendDtmf("2"))
    kept.keep_only_words()
    assert list(kept.since(0)) == [b"abcd", SendDtmf("1"), b"efgh", SendDtmf("2")]
    kept.forget(6)
    assert (kept.start, kept.end) == (6, 8)
    assert list(kept.since(0)) == [b"gh", SendDtmf("2")]
    kept.forget(2)
    assert list(kept.since(0)) == [b"gh", SendDtmf("2")]
    kept.clear()
    assert list(kept.since(0)) == []
    assert kept.dropped_bytes == 0


def test_what_the_agent_was_asked_to_say_is_kept_until_it_begins() -> None:
    kept = Kept(MULAW_8K, 1)
    for told in (Say(Purpose.GREETING), CommitTurn(), CancelResponse(), SendText("a"), Say(Purpose.STILL_THERE)):
        kept.add_told(told)
    assert list(kept.since(0)) == [CommitTurn(), SendText("a"), Say(Purpose.STILL_THERE)]
    seen = kept.commands
    kept.begun()
    kept.add_told(SendDtmf("1"))
    assert list(kept.since(0, seen)) == [SendDtmf("1")], "commands are counted, whatever is forgotten"
    assert list(kept.since(0)) == [CommitTurn(), SendText("a"), SendDtmf("1")]
    kept.add_command(Say(Purpose.GREETING))
    kept.add_command(Say(Purpose.MESSAGE, "m"))
    kept.keep_only_words()
    assert list(kept.since(0))[3:] == [Say(Purpose.MESSAGE, "m")]


def test_the_oldest_audio_goes_first_and_commands_never() -> None:
    kept = Kept(MULAW_8K, 0.001)  # 8 bytes
    kept.add_command(SendDtmf("1"))
    kept.add_audio(b"0123")
    kept.add_command(SendDtmf("2"))
    kept.add_audio(b"456789")
    kept.add_command(SendDtmf("3"))
    assert kept.dropped_bytes == 2
    assert kept.dropped_ms == 0.25
    assert list(kept.since(0)) == [SendDtmf("1"), b"23", SendDtmf("2"), b"456789", SendDtmf("3")]
    kept.clear()
    kept.add_audio(b"x" * 20)
    kept.add_command(SendDtmf("4"))
    assert list(kept.since(0)) == [b"x" * 8, SendDtmf("4")]


def test_too_many_commands_are_refused() -> None:
    kept = Kept(MULAW_8K, 1)
    assert all(kept.add_command(CancelResponse()) for _ in range(COMMANDS))
    assert not kept.add_command(CancelResponse())


@given(st.lists(st.binary(max_size=9) | st.sampled_from("0123456789")), st.integers(1, 20))
def test_any_sequence_is_a_suffix_of_itself(pieces: list[bytes | str], milliseconds: int) -> None:
    kept = Kept(MULAW_8K, milliseconds / 1000)
    audio = b""
    commands: list[Command] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            kept.add_audio(piece)
            audio += piece
        elif kept.add_command(SendDtmf(piece)):
            commands.append(SendDtmf(piece))
    taken = list(kept.since(0))
    heard = b"".join(piece for piece in taken if isinstance(piece, bytes))
    assert [piece for piece in taken if not isinstance(piece, bytes)] == commands
    assert audio.endswith(heard)
    assert len(heard) == min(len(audio), MULAW_8K.size(milliseconds))
    assert len(heard) + kept.dropped_bytes == len(audio)


@given(st.lists(st.binary(max_size=200)))
def test_what_is_dropped_is_whole_samples(pieces: list[bytes]) -> None:
    kept = Kept(PCM16_24K, 0.001)  # 48 bytes
    for piece in pieces:
        kept.add_audio(piece)
    assert kept.dropped_bytes % PCM16_24K.sample_bytes == 0
