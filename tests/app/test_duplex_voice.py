"""A voice that never pauses."""

from __future__ import annotations

from playbook import plan

from tandem.duplex import CUSHION_MS, QUIET_SECONDS, DuplexVoice
from tandem.ledger import Ledger
from tandem_codecs.format import MULAW_8K


def test_the_first_of_it_gets_a_cushion_and_only_loud_parts_are_words() -> None:
    ledger = Ledger(plan().format, 20_000, blocked=False)
    voice, loud, quiet = DuplexVoice(MULAW_8K, 10.0), b"\x33" * 800, MULAW_8K.silence(100)
    audio = voice.pad(loud, ledger, 10.0)
    assert audio == MULAW_8K.silence(CUSHION_MS) + loud
    ledger.append(audio, "live", "live", 0, False, 10.0)
    assert voice.pad(quiet, ledger, 10.1) == quiet, "what follows is ahead already"
    end = 10.0 + (CUSHION_MS + 100) / 1000 + QUIET_SECONDS
    assert not voice.heard(end - 0.01)
    assert voice.heard(end + 0.01)
