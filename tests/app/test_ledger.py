from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.carriers.events import CarrierCommand, Clear, Mark, Play
from tandem.ledger import LOST_MARK_SECONDS, Ledger
from tandem_codecs.format import MULAW_8K

MS = MULAW_8K.bytes_per_ms


def ledger(lead_ms: float = 20_000) -> Ledger:
    return Ledger(MULAW_8K, lead_ms)


def voice(milliseconds: int, fill: int = 1) -> bytes:
    return bytes([fill]) * (milliseconds * MS)


def played(commands: list[CarrierCommand]) -> int:
    return sum(len(c.audio) for c in commands if isinstance(c, Play))


def marks(commands: list[CarrierCommand]) -> list[str]:
    return [c.name for c in commands if isinstance(c, Mark)]


def test_audio_is_sent_at_once_and_its_end_is_marked() -> None:
    book = ledger()
    assert book.append(voice(200), "item", "turn", 0, False, 1.0) == [Play(voice(200))]
    assert book.append(b"", "item", "turn", 0, True, 1.0) == [Mark("m1")]
    assert book.speaking(1.1)
    assert not book.speaking(1.201)


def test_long_speech_is_marked_every_second_not_at_every_delta() -> None:
    book = ledger()
    names = [name for _ in range(25) for name in marks(book.append(voice(100), "item", "turn", 0, False, 1.0))]
    assert names == ["m1", "m2"]


def test_heard_is_the_acknowledged_mark_plus_the_time_since_never_more_than_sent() -> None:
    book = ledger()
    book.append(voice(3000), "item", "turn", 0, True, 10.0)
    item = book.items["item"]
    assert book.heard_ms(item, 10.0) == 0
    assert book.heard_ms(item, 10.5) == 500
    assert book.heard_ms(item, 99.0) == 3000
    book.append(voice(1000), "item2", "turn", 0, True, 11.0)
    assert book.mark_played("m1", 13.25)  # the carrier was a little late
    assert book.heard_ms(item, 13.25) == 3000
    assert book.heard_ms(book.items["item2"], 13.45) == 200


def test_the_estimate_waits_for_a_mark_that_has_not_come_back() -> None:
    book = ledger()
    book.append(voice(1000), "item", "turn", 0, False, 0.0)
    book.append(voice(500), "item", "turn", 0, True, 0.0)
    assert book.heard_ms(book.items["item"], 1.4) == 1000
    book.mark_played("m1", 1.1)
    assert book.heard_ms(book.items["item"], 1.4) == 1300


def test_clear_cuts_at_what_was_heard_and_the_returned_marks_prove_nothing() -> None:
    book = ledger()
    book.append(voice(1500), "a", "turn", 0, True, 5.0)
    book.append(voice(1000), "b", "turn", 0, True, 5.0)
    commands, cuts = book.clear(5.7)
    assert commands == [Clear()]
    assert [(cut.item.item_id, cut.played_ms, cut.received_ms) for cut in cuts] == [("a", 700, 1500), ("b", 0, 1000)]
    assert not book.mark_played("m1", 5.71)
    assert not book.mark_played("m2", 5.71)
    assert not book.speaking(5.71)
    assert book.heard_ms(book.items["a"], 60.0) == 700
    assert book.heard_ms(book.items["b"], 60.0) == 0


def test_late_audio_of_a_cut_turn_never_plays_and_the_next_turn_does() -> None:
    book = ledger()
    book.append(voice(1000), "a", "turn", 0, False, 5.0)
    book.clear(5.2)
    assert book.append(voice(200), "a", "turn", 0, False, 5.3) == []
    assert book.append(voice(200), "a2", "turn", 0, True, 5.3) == []
    assert book.counters.stale_bytes == 400 * MS
    assert played(book.append(voice(200), "c", "next", 0, True, 5.4)) == 200 * MS
    assert book.heard_ms(book.items["c"], 5.5) == 100


def test_nothing_to_cut_is_no_barge_in() -> None:
    book = ledger()
    assert book.clear(1.0) == ([], [])
    book.append(voice(100), "a", "turn", 0, True, 1.0)
    book.mark_played("m1", 1.1)
    assert book.clear(1.2) == ([], [])


def test_what_exceeds_the_lead_is_held_and_follows_as_the_caller_hears() -> None:
    book = ledger(lead_ms=1000)
    assert played(book.append(voice(3000), "a", "turn", 0, True, 0.0)) == 1000 * MS
    assert book.held_ms == 2000
    assert book.tick(0.0) == []
    assert played(book.tick(0.5)) == 500 * MS
    commands, cuts = book.clear(0.6)
    assert commands == [Clear()]
    assert book.held_ms == 0
    assert (cuts[0].played_ms, cuts[0].received_ms) == (600, 3000)


def test_a_blocked_carrier_gets_nothing_and_old_audio_goes_first() -> None:
    book = ledger()
    book.block(True)
    assert book.append(voice(3000, 1) + voice(2000, 2), "a", "turn", 0, True, 0.0) == []
    book.drop_oldest(2000)
    assert book.held_ms == 2000
    book.block(False)
    assert book.tick(9.0)[0] == Play(voice(2000, 2))
    assert book.counters.dropped_ms == 3000


def test_a_mark_that_never_comes_does_not_keep_the_call_speaking() -> None:
    book = ledger()
    book.append(voice(500), "a", "turn", 0, False, 0.0)
    book.append(b"", "a", "turn", 0, True, 0.0)
    book.append(voice(500), "b", "turn", 0, True, 0.0)
    book.tick(1.5)
    assert book.speaking(1.5)
    book.tick(0.5 + LOST_MARK_SECONDS + 0.1)
    assert book.counters.lost_marks == 1
    book.tick(1.0 + LOST_MARK_SECONDS + 0.1)
    assert not book.speaking(9.0)
    assert book.counters.lost_marks == 2


def test_a_carrier_run_dry_within_an_item_is_an_underrun_between_items_it_is_none() -> None:
    book = ledger()
    book.append(voice(100), "a", "turn", 0, False, 0.0)
    book.tick(0.2)
    book.append(voice(100), "a", "turn", 0, True, 0.3)
    assert book.counters.underruns == 1
    assert 95 <= book.counters.underrun_ms <= 205
    book.mark_played("m1", 0.4)
    book.append(voice(100), "b", "turn2", 0, True, 5.0)
    assert book.counters.underruns == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("audio"), st.integers(0, 900), st.booleans()),
            st.tuples(st.just("wait"), st.integers(0, 1500), st.booleans()),
            st.tuples(st.just("mark"), st.integers(0, 3), st.booleans()),
            st.tuples(st.just("clear"), st.integers(0, 0), st.booleans()),
        ),
        max_size=60,
    )
)
def test_whatever_happens_heard_never_exceeds_sent_and_never_shrinks_once_settled(
    steps: list[tuple[str, int, bool]],
) -> None:
    book, now, sent, turn = ledger(lead_ms=2000), 0.0, 0, 0
    outstanding: list[str] = []
    settled: dict[str, int] = {}
    for kind, amount, flag in steps:
        commands: list[CarrierCommand] = []
        if kind == "audio":
            commands = book.append(voice(amount), f"item{turn}", f"turn{turn}", 0, flag, now)
            turn += flag
        elif kind == "wait":
            now += amount / 1000
            commands = book.tick(now)
        elif kind == "mark" and outstanding:
            book.mark_played(outstanding.pop(0), now)
        elif kind == "clear":
            commands, _ = book.clear(now)
            turn += 1
        sent += played(commands)
        outstanding += marks(commands)
        for name, item in book.items.items():
            assert settled.get(name, 0) <= item.heard <= item.received
            settled[name] = item.heard
        assert sum(item.heard for item in book.items.values()) <= sent
        assert book.ahead_ms(now) <= 2000
