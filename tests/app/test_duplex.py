"""A call whose voice never pauses: what is words, what is silence, and when all has been heard."""

from __future__ import annotations

from typing import Any

from playbook import PROMPTS, START, Playbook
from sounds import hum

from tandem.call_state import State
from tandem.call_types import Attached, End, EndReason, HangUp, ToProvider
from tandem.carriers.events import Clear, Dtmf, Mark, Play
from tandem.duplex import CUSHION_MS, DuplexVoice
from tandem.ledger import Ledger
from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import CancelResponse, PlaybackReport, Purpose, Say, SendDtmf
from tandem_providers.errors import ConnectionFailedError
from tandem_providers.events import AudioChunk, HangupRequested, ItemAdded, ProviderLost, SessionReady, Transcript
from tandem_providers.provider import Capabilities

FORMATS = (MULAW_8K,)
CAN = Capabilities(FORMATS, FORMATS, turn_model="duplex", text_in=True, seeds=True)
READY = SessionReady("live", MULAW_8K, MULAW_8K)
LOUD = hum(440, 100)
QUIET = MULAW_8K.silence(100)


def test_a_little_silence_goes_ahead_of_a_voice_that_begins() -> None:
    ledger = Ledger(MULAW_8K, 20_000)
    duplex = DuplexVoice(MULAW_8K, 0.0)
    assert duplex.pad(LOUD, ledger, 1.0) == MULAW_8K.silence(CUSHION_MS) + LOUD
    loud = [duplex.is_loud]
    assert duplex.pad(b"", ledger, 1.0) == b"", "the end of an item is no audio"
    ledger.append(LOUD, "a", "", 0, False, 1.0)
    assert duplex.pad(QUIET, ledger, 1.05) == QUIET
    loud.append(duplex.is_loud)
    assert loud == [True, False]
    assert not duplex.heard(1.5)
    assert duplex.heard(2.0)


class Duplex:
    """A call on such a voice, which sends a tenth of a second every tenth of a second."""

    def __init__(self, **changes: Any) -> None:
        self.play = Playbook(returns_marks=True, **changes)
        self.play.call.set_voice(CAN)
        self.play >> Attached() >> READY << ToProvider(Say(Purpose.GREETING))
        self.play >> START
        self.play.silent()
        self.asked: list[Purpose] = []
        self.ended: EndReason | None = None

    def hears(self, seconds: float, *, words: str = "", item: str = "pause", final: bool = False) -> Duplex:
        """So long the agent speaks, or is silent."""
        if words:
            self.play >> ItemAdded(item, None, False) >> Transcript(words, False, False, item)
        for _ in range(round(seconds * 10)):
            if self.ended is not None:
                break
            self.play >> AudioChunk(LOUD if words else QUIET, False, item)
            self.play.wait(0.1)
            self._note()
        if final:
            self.play >> Transcript(words, True, False, item) >> AudioChunk(b"", True, item)
        self._note()
        return self

    def caller(self, text: str, item: str, *, final: bool = False) -> Duplex:
        self.play >> Transcript(text, final, True, item)
        self._note()
        return self

    def _note(self) -> None:
        for command in self.play.take():
            match command:
                case ToProvider(Say() as say):
                    self.asked.append(say.purpose)
                case End():
                    self.ended = command.reason
                case _:
                    pass

    def history(self) -> list[str]:
        """What a successor would be told."""
        return [turn.text for turn in self.play.call.history(self.play.now)]


def state(duplex: Duplex) -> State:
    return duplex.play.call.state


def ended(duplex: Duplex) -> EndReason | None:
    return duplex.ended


def test_silence_is_no_answer() -> None:
    duplex = Duplex().hears(1.0)
    assert duplex.play.call.stats.first_audio_seconds is None
    duplex.hears(0.3, words="Hello.", item="a")
    assert 0.9 < (duplex.play.call.stats.first_audio_seconds or 0) < 1.1


def test_a_silent_caller_is_asked_and_let_go_though_audio_never_stops() -> None:
    duplex = Duplex(silence_seconds=20.0).hears(1.0, words="Hello.", item="a", final=True).hears(8.0)
    assert duplex.asked == [Purpose.STILL_THERE]
    duplex.hears(0.5, words="Hello?", item="b", final=True).hears(11.0)
    assert duplex.asked == [Purpose.STILL_THERE, Purpose.GOODBYE]
    duplex.hears(1.0, words="Bye.", item="c", final=True).hears(3.0)
    assert duplex.ended is EndReason.SILENCE


def test_last_words_that_have_not_begun_are_waited_for() -> None:
    duplex = Duplex(silence_seconds=4.0).hears(0.5, words="Hello.", item="a", final=True)
    while Purpose.GOODBYE not in duplex.asked:
        duplex.hears(0.1)
    duplex.hears(0.7)
    assert duplex.ended is None, "silence is not the goodbye"


def test_a_caller_who_says_something_stays_though_no_turn_is_ever_told() -> None:
    duplex = Duplex(silence_seconds=10.0).hears(0.5, words="Hello.", item="a", final=True)
    while Purpose.GOODBYE not in duplex.asked:
        duplex.hears(0.1)
    assert duplex.play.call.state is State.LEAVING
    duplex.caller("Wait", "b")
    assert state(duplex) is State.TALKING
    duplex.hears(2.0)
    assert duplex.ended is None


def test_a_long_speech_of_the_caller_is_a_sign_of_life_before_it_is_over() -> None:
    duplex = Duplex(silence_seconds=8.0).hears(0.5, words="Hello.", item="a", final=True)
    for number in range(10):
        duplex.caller(f" word{number}", "b").hears(1.0)
    assert duplex.asked == []
    assert duplex.play.call.stats.caller_turns == 0
    duplex.caller("word0 to word9", "b", final=True)
    assert duplex.play.call.stats.caller_turns == 1


def test_the_agents_goodbye_is_heard_before_the_line_is_cut() -> None:
    duplex = Duplex().hears(0.2, words="Bye", item="a")
    duplex.play >> HangupRequested()
    duplex.hears(1.5, words=" and thanks.", item="a")
    assert duplex.ended is None
    duplex.hears(1.5)
    assert ended(duplex) is EndReason.AGENT_HUNG_UP


def test_our_own_goodbye_is_heard_too_though_the_voice_goes_on() -> None:
    duplex = Duplex().hears(0.3)
    duplex.play >> HangUp(EndReason.DRAINED)
    began = duplex.play.now
    while duplex.ended is None:
        duplex.hears(0.1)
    assert duplex.play.now - began > MULAW_8K.milliseconds(len(PROMPTS.goodbye)) / 1000


def test_a_key_throws_away_what_waits_and_nothing_that_comes() -> None:
    duplex = Duplex().hears(0.5, words="A long menu", item="a")
    duplex.play >> AudioChunk(LOUD, False, "a") << Play
    duplex.play >> Dtmf("5")
    clear, report, cancel, dtmf = duplex.play.take()
    assert isinstance(clear, Clear)
    assert isinstance(report, ToProvider)
    assert isinstance(report.command, PlaybackReport)
    assert report.command.item_id == "a"
    assert (cancel, dtmf) == (ToProvider(CancelResponse()), ToProvider(SendDtmf("5")))
    duplex.play >> AudioChunk(LOUD, False, "b")
    played = [command for command in duplex.play.take() if isinstance(command, Play | Mark)]
    assert played[0] == Play(MULAW_8K.silence(CUSHION_MS) + LOUD)


def test_a_successor_knows_what_was_answered_and_hears_the_rest() -> None:
    duplex = Duplex().hears(1.0, words="Hello.", item="a", final=True).hears(0.5)
    assert duplex.history() == ["Hello."]
    duplex.caller("What time is it?", "b", final=True).hears(0.5)
    assert duplex.history() == ["Hello."], "what was not answered yet is told as audio"
    duplex.hears(0.5, words="Noon.", item="c", final=True).hears(0.5)
    assert duplex.history() == ["Hello.", "What time is it?", "Noon."]


def test_words_that_broke_off_are_owed() -> None:
    for speaking in (True, False):
        duplex = Duplex().hears(1.0, words="Hello and", item="a")
        if not speaking:
            duplex.hears(2.0)
        duplex.play >> ProviderLost("live", ConnectionFailedError("gone"))
        duplex.play.take()
        duplex.play.call.set_voice(CAN)
        duplex.play >> READY
        told = [command.command for command in duplex.play.take() if isinstance(command, ToProvider)]
        assert told == ([Say(Purpose.RESUME)] if speaking else [])
