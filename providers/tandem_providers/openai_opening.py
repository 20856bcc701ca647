"""How a session gets agreed upon: what it is asked for, again with less where the server refuses, until it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tandem_codecs.format import Encoding
from tandem_providers.errors import InvalidConfigError, ProviderError
from tandem_providers.events import Event, ProviderWarning, SessionClosed
from tandem_providers.openai_errors import presentable
from tandem_providers.openai_events import ErrorBody
from tandem_providers.openai_profile import BETA, GA, Dialect
from tandem_providers.openai_session import SessionPlan, encode_session
from tandem_providers.openai_writer import Writer

_PROBE: Final = "input_audio_buffer.clear"
"""Harmless before there is audio, and every server answers it: with an error, if it does not know it."""
_NEEDED: Final = frozenset({"instructions", "tools", "temperature"})
"""Asked for by name for this very session: without it, it would be another session."""
_FORMATS: Final = ("input_format", "output_format")
_SIGNS_OF_GA: Final = frozenset({"audio", "output_modalities", "type"})
_SIGNS_OF_BETA: Final = frozenset({"modalities", "voice", "turn_detection", "input_audio_format"})
_NAMED: Final = re.compile(r"\bsession\.([\w.]*\w)|['\"`]([\w.]*\w)['\"`]|\b([a-z]+_[a-z_]*[a-z])\b")
"""What may be a field in a sentence: `session.x.y`, anything in quotes, a word with an underscore."""


class Negotiation:
    """Says what to send until the session stands. The first thing is written when it is made, if that can be."""

    def __init__(self, plan: SessionPlan, writer: Writer) -> None:
        self._plan = plan
        self._profile = plan.profile
        self._writer = writer
        self._dialect = plan.profile.dialect
        self._guessed = False
        self._without: set[str] = set()
        self._stages = 0
        self._probes: list[str] = []
        if self._dialect is not None:
            self._ask(self._dialect)

    def told(self, session: Mapping[str, Any]) -> None:
        """The server's first word, with the session as it shows it there: now its dialect is known."""
        if self._dialect is None:
            signs = session.keys()
            self._guessed = not signs & (_SIGNS_OF_GA | _SIGNS_OF_BETA)
            self._ask(GA if self._guessed or signs & _SIGNS_OF_GA else BETA)

    def probed(self) -> bool:
        """An answer to what has to be answered. True: to the last one, so the update before it has been taken in."""
        if self._probes:
            self._probes.pop(0)
            return not self._probes
        return False

    def is_about_probe(self, error: ErrorBody) -> bool:
        """Whether this is the answer of a server that does not know what it was asked."""
        return bool(self._probes) and (
            error.event_id in self._probes or _PROBE in f"{error.param or ''} {error.message or ''}"
        )

    def refused(self, error: ErrorBody, failure: ProviderError) -> list[Event]:
        """The server did not take the session: ask for less, where that is possible and makes sense."""
        end: list[Event] = [SessionClosed(failure, reason=failure.code)]
        if self._dialect is None or not self._profile.sheds or not isinstance(failure, InvalidConfigError):
            return end
        session = encode_session(self._plan, self._dialect)
        named = set(_fields_in(error, session))
        if self._guessed and named & _SIGNS_OF_GA:
            self._guessed = False
            self._ask(BETA)
            return []
        if any(_within(field, needed) for field in named for needed in self._needed(self._dialect)):
            return end
        if named and named <= self._without:
            return []  # it answers an earlier attempt
        dropped = named or self._next_stage(self._dialect)
        if not dropped:
            return end
        self._without |= dropped
        self._ask(self._dialect)
        message = f"goes without {', '.join(sorted(dropped))}: {presentable(error.message or failure.code)}"
        return [ProviderWarning("setting_refused", message)]

    def _ask(self, dialect: Dialect) -> None:
        self._dialect = self._writer.dialect = dialect
        self._writer.write("session.update", session=encode_session(self._plan, dialect, self._without))
        if not self._profile.answers_updates:
            self._probes.append(self._writer.write(_PROBE))

    def _needed(self, dialect: Dialect) -> list[str]:
        # What is not linear audio has to be asked for: nobody would guess it.
        formats = [name for name in _FORMATS if self._plan.settings[name].encoding is not Encoding.PCM16]
        return [*self._paths([*_NEEDED, *formats]), *dialect.constants]

    def _paths(self, settings: Iterable[str]) -> Iterator[str]:
        places = self._dialect.places if self._dialect is not None else {}
        return (".".join(places.get(name, (name,))) for name in settings)

    def _next_stage(self, dialect: Dialect) -> set[str]:
        """The server does not say what it minds: leave out all that can be, then even the formats of audio."""
        formats = {".".join(dialect.places[name]) for name in _FORMATS}
        optional = set(self._paths(name for name in self._plan.settings if name not in _NEEDED)) - formats
        for stage in (optional, formats - set(self._needed(dialect)))[self._stages :]:
            self._stages += 1
            if stage - self._without:
                return stage - self._without
        return set()


def _within(field: str, other: str) -> bool:
    """Whether one of the two is the other or holds it."""
    return f"{field}.".startswith(f"{other}.") or f"{other}.".startswith(f"{field}.")


def _fields_in(error: ErrorBody, session: Mapping[str, Any]) -> Iterator[str]:
    """The fields of ours that an error speaks of: by its `param`, else in its words."""
    ours = dict(_leaves(session))
    candidates = [(error.param or "").removeprefix("session.")]
    if candidates[0] not in ours:
        candidates = ["".join(found) for found in _NAMED.findall(f"{error.param or ''} {error.message or ''}")]
    for candidate in candidates:
        if candidate in ours:
            yield candidate
            continue
        same_leaf = [path for path in ours if path.rpartition(".")[2] == candidate]
        if len(same_leaf) == 1:
            yield same_leaf[0]


def _leaves(session: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field by its path, those that hold others included."""
    for name, value in session.items():
        yield f"{path}{name}", value
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
