"""How a session gets agreed upon: what it is asked for, again with less where the server refuses, until it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tandem_codecs.format import Encoding
from tandem_providers import openai_events as wire
from tandem_providers.errors import InvalidConfigError, ProviderError
from tandem_providers.events import Event, ProviderWarning, ResumeHandle, SessionClosed, SessionReady
from tandem_providers.openai_errors import classify, presentable
from tandem_providers.openai_profile import BETA, GA, Dialect, Setup
from tandem_providers.openai_session import SessionPlan, encode_session, session_ready
from tandem_providers.openai_writer import Writer
from tandem_providers.provider import Opening

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

    def __init__(self, setup: Setup, plan: SessionPlan, opening: Opening, name: str, writer: Writer) -> None:
        self._setup = setup
        self._plan = plan
        self._opening = opening
        self._name = name
        self._writer = writer
        self._dialect = setup.profile.dialect
        self._guessed = False
        self._stands = False
        self._without: set[str] = set()
        self._stages = 0
        self._probes: list[str] = []
        self._created: Mapping[str, Any] = {}
        self._conversation = ""
        if self._dialect is not None:
            self._ask(self._dialect)

    def hear(self, event: wire.OpeningEvent) -> list[Event]:
        """What an event means for the session; `SessionReady` comes first among the answers, once, when it stands."""
        match event:
            case wire.SessionCreated():
                self._created = event.session
                self._told(event.session)
                return []
            case wire.ConversationCreated():
                self._told({})
                self._conversation = event.conversation.id
                return [ResumeHandle(self._conversation)] if self._plan.resumes and self._conversation else []
            case wire.SessionUpdated():
                return self._taken(event.session)
            case wire.InputCleared():
                return self._answered()

    def refused(self, error: wire.ErrorBody, message: str) -> list[Event]:
        """An error before the session stands: less is asked for, where that is possible and makes sense."""
        if self._is_about_probe(error):
            return self._answered()
        failure = classify(
            error.code or "", error.type or "", message, provider=self._name, otherwise=InvalidConfigError
        )
        warnings = self._ask_for_less(error, failure)
        return [SessionClosed(failure, reason=failure.code)] if warnings is None else warnings

    def was_answer(self, error: wire.ErrorBody) -> bool:
        """Whether an error of a session that stands is only a late answer to what we asked while it did not."""
        if not self._is_about_probe(error):
            return False
        self._probes.pop(0)
        return True

    def _told(self, session: Mapping[str, Any]) -> None:
        """The server's first word, with the session as it shows it there: now its dialect is known."""
        if self._dialect is None:
            signs = session.keys()
            self._guessed = not signs & (_SIGNS_OF_GA | _SIGNS_OF_BETA)
            self._ask(GA if self._guessed or signs & _SIGNS_OF_GA else BETA)

    def _taken(self, session: Mapping[str, Any] | None) -> list[Event]:
        """The server has taken the session in, and shows it; None: it does not say what it made of it."""
        if self._stands:
            return []
        events = session_ready(session or {}, self._created, self._plan, self._setup, self._name)
        self._stands = isinstance(events[0], SessionReady)
        if self._stands and (not self._opening.resume or self._conversation != self._opening.resume):
            for turn in self._opening.history:
                self._writer.memory(turn)
        if self._stands and session is None:
            message = "the server does not say what it made of the session; it is taken to be as asked for"
            events.append(ProviderWarning("session_unconfirmed", message))
        return events

    def _answered(self) -> list[Event]:
        """An answer to what has to be answered. After the last one, the update before it has been taken in."""
        if not self._probes:
            return []
        self._probes.pop(0)
        return [] if self._probes else self._taken(None)

    def _is_about_probe(self, error: wire.ErrorBody) -> bool:
        """Whether this is the answer of a server that does not know what it was asked."""
        if not self._probes:
            return False
        words = f"{error.param or ''} {error.message or ''}"
        # A server that takes what it does not know for broken JSON means this: nothing else of ours could be.
        return error.event_id in self._probes or _PROBE in words or error.code == "invalid_json"

    def _ask_for_less(self, error: wire.ErrorBody, failure: ProviderError) -> list[Event] | None:
        """Ask again without what the server minds, and say so; None when that can't be."""
        profile = self._setup.profile
        if self._dialect is None or not profile.sheds or not isinstance(failure, InvalidConfigError):
            return None
        named = set(_fields_in(error, encode_session(self._plan, self._dialect)))
        if self._guessed and named & _SIGNS_OF_GA:
            self._guessed = False
            self._ask(BETA)
            return []
        if any(_within(field, needed) for field in named for needed in self._needed()):
            return None
        if named and named <= self._without:
            # An answer to an earlier attempt, as long as one of those can still be answered.
            return [] if len(self._probes) > 1 else None
        dropped = named or self._next_stage(self._dialect)
        if not dropped:
            return None
        self._without |= dropped
        self._ask(self._dialect)
        message = f"goes without {', '.join(sorted(dropped))}: {presentable(error.message or failure.code)}"
        return [ProviderWarning("setting_refused", message)]

    def _ask(self, dialect: Dialect) -> None:
        self._dialect = self._writer.dialect = dialect
        self._writer.write("session.update", session=encode_session(self._plan, dialect, self._without))
        if not self._setup.profile.answers_updates:
            self._probes.append(self._writer.write(_PROBE))

    def _needed(self) -> list[str]:
        # What is not linear audio has to be asked for: nobody would guess it.
        formats = [name for name in _FORMATS if self._plan.settings[name].encoding is not Encoding.PCM16]
        return list(self._paths([*_NEEDED, *formats]))

    def _paths(self, settings: Iterable[str]) -> Iterator[str]:
        places = self._dialect.places if self._dialect is not None else {}
        return (".".join(places.get(name, (name,))) for name in settings)

    def _next_stage(self, dialect: Dialect) -> set[str]:
        """The server does not say what it minds: leave out all that can be, then even the formats of audio."""
        formats = {".".join(dialect.places[name]) for name in _FORMATS}
        optional = set(self._paths(name for name in self._plan.settings if name not in _NEEDED)) - formats
        for stage in (optional, formats - set(self._needed()))[self._stages :]:
            self._stages += 1
            if stage - self._without:
                return stage - self._without
        return set()


def _within(field: str, other: str) -> bool:
    """Whether one of the two is the other or holds it."""
    return f"{field}.".startswith(f"{other}.") or f"{other}.".startswith(f"{field}.")


def _fields_in(error: wire.ErrorBody, session: Mapping[str, Any]) -> Iterator[str]:
    """The fields of ours that an error speaks of: by its `param`, else in its words."""
    ours = dict(_leaves(session))
    candidates = [(error.param or "").removeprefix("session.")]
    if candidates[0] not in ours:
        words = f"{error.param or ''} {error.message or ''}"
        candidates = ["".join(found).removeprefix("session.") for found in _NAMED.findall(words)]
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
