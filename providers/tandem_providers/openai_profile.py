"""How the servers that speak OpenAI's realtime protocol differ from each other, as data.

A `Dialect` is a way of writing a session down, a `Profile` one vendor, a `Setup` one configured instance of it. The
adapter asks these and never a vendor's name. What servers send is read by all names that anybody uses, whatever the
profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat
from tandem_providers.errors import InvalidConfigError
from tandem_providers.options import option_infos
from tandem_providers.provider import Dial

G711: Final = (MULAW_8K, ALAW_8K)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way of writing a session and its items down."""

    constants: Mapping[str, Any]
    """Fields of every `session.update`."""
    places: Mapping[str, tuple[str, ...]]
    """Where a setting stands in the session; those that are not named stand at its top, by their own name."""
    named_formats: bool = False
    """Formats are words (`g711_ulaw`) rather than objects."""
    assistant_text: str = "output_text"
    """What the text of an item is called that the agent is to have said."""
    response: Mapping[str, Any] = field(default_factory=dict)
    """Fields of every `response.create`."""


_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "input_format": ("audio", "input", "format"),
    "transcription": ("audio", "input", "transcription"),
    "noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "output_format": ("audio", "output", "format"),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
}
GA: Final = Dialect({"type": "realtime", "output_modalities": ["audio"]}, _PLACES)
"""The protocol as it is."""
BETA: Final = Dialect(
    {"modalities": ["text", "audio"]},
    {
        "input_format": ("input_audio_format",),
        "output_format": ("output_audio_format",),
        "transcription": ("input_audio_transcription",),
        "noise_reduction": ("input_audio_noise_reduction",),
        "max_output_tokens": ("max_response_output_tokens",),
    },
    named_formats=True,
    assistant_text="text",
)
"""The protocol as it was before."""
MIXED: Final = Dialect(
    {},
    {**_PLACES, "voice": ("voice",), "turn_detection": ("turn_detection",)},
    response={"modalities": ["text", "audio"]},
)
"""The new layout of audio, but voice and turns at the top, and the old word for modalities."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One vendor, or one kind of server."""

    settings: Mapping[str, Any]
    """What may be asked for besides what every provider takes, by name: type of the value, with its range."""
    dialect: Dialect | None = GA
    """None: the server's first event tells."""
    default_voice: str = ""
    """Empty: the server has one of its own."""
    max_session_seconds: float | None = None
    temperature: tuple[float, float] | None = None
    """The range it takes; None: it takes none."""
    truncates: bool = True
    deletes: bool = True
    cancels: bool = True
    echoes: bool = True
    """It returns the metadata of a request with the response."""
    answers_updates: bool = True
    """It confirms a `session.update`; else it is asked something that it has to answer, and has then taken that in."""
    sheds: bool = False
    """Settings that it refuses are left out, with a warning, rather than failing the session."""
    clears: bool = True
    """What is not set is cleared rather than left to the server."""
    nested_tools: bool = False
    chooses_tools: bool = True
    """A single response can be kept from calling functions."""
    calls_by_arguments: bool = False
    """A call is complete with its arguments: nothing else may follow, not even the end of the response."""
    forces_words: bool = False
    """Words can be given to be spoken exactly, without the model."""
    drops_responses: bool = False
    """A response may just never go on, without a word."""
    vanish_ms: float = 20_000.0
    """An active response that nothing came of for so long is given up (only if something waits for it, unless
    `drops_responses`)."""
    reserved_functions: frozenset[str] = frozenset()
    """Names of functions that are the vendor's own."""
    resume_query: str = ""
    """Name in the query by which a conversation goes on; empty: there is no such thing."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One configured instance: where it is, and what its options ask for."""

    profile: Profile
    url: str
    model: str
    input_formats: tuple[AudioFormat, ...] = (*G711, PCM16_24K)
    """Offered to the telephone leg, in order of preference; the linear one is for legs of another format."""
    output_formats: tuple[AudioFormat, ...] = (*G711, PCM16_24K)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    voice: str = ""
    given: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    """Settings by name: what to call the option when it is wrong, and its value."""
    known_models: tuple[str, ...] = ()
    """How the names of models begin that are known to do; empty: no opinion."""


class RealtimeOptions(Protocol):
    """Options of any member of the family."""

    def setup(self, name: str) -> Setup:
        """What they come to; `name` is the configured instance's.

        Raises:
            InvalidConfigError: an option is wrong or missing.
        """
        ...


def tidy(options: Any) -> None:
    """Strip all text of a frozen dataclass of options; empty text means the default, if there is one."""
    for declared in fields(options):
        value = getattr(options, declared.name)
        if isinstance(value, str):
            default = "" if declared.default is MISSING else declared.default
            object.__setattr__(options, declared.name, value.strip() or default)


def label(options: Any, name: str) -> str:
    """What to call an option when it is wrong: as code and as environment know it."""
    env = option_infos(type(options))[name].env
    return f"{name} ({env[0]})" if env else name


def labelled(options: Any, **named: Any) -> dict[str, tuple[str, Any]]:
    """`Setup.given`: settings by name, each from the option `name` or from `(option, value)`; None is left out."""
    given: dict[str, tuple[str, Any]] = {}
    for setting, wish in named.items():
        option_name, value = wish if isinstance(wish, tuple) else (setting, wish)
        if value is not None:
            given[setting] = (label(options, option_name), value)
    return given


def address(url: str, what: str, name: str, *, key_option: str = "", schemes: Sequence[str] = ("ws", "wss")) -> str:
    """The host of a URL that can be dialled.

    Raises:
        InvalidConfigError: it cannot; `what` says which option it came from.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidConfigError(f"{what}: {error}", provider=name) from None
    if parts.scheme not in schemes or not host:
        wanted = " or ".join(f"{scheme}://" for scheme in reversed(schemes))
        raise InvalidConfigError(f"{what}: must begin with {wanted} and a host", provider=name)
    if parts.username is not None:
        hint = f", use {key_option}" if key_option else ""
        raise InvalidConfigError(f"{what}: no credentials here{hint}", provider=name)
    return host


def with_query(url: str, **fields: str) -> str:
    """The URL with these fields in its query; one that is there already stays as it is."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    there = {key for key, _ in query}
    query += [(key, value) for key, value in fields.items() if value and key not in there]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))


def make_dial(setup: Setup, name: str, *, headers: Mapping[str, str], query: Mapping[str, str]) -> Dial:
    """Where and with what to open the socket; what is given here comes on top of the set-up.

    The header of the beta interface is never sent: the vendor closes such connections.

    Raises:
        InvalidConfigError: a header that cannot be sent.
    """
    sent = {header: value for header, value in {**setup.headers, **headers}.items() if value}
    for header, value in sent.items():
        if not (value.isascii() and value.isprintable()):
            # The value may be the key, so it is not shown.
            raise InvalidConfigError(f"{header}: may only hold printable ASCII characters", provider=name)
    return Dial(with_query(setup.url, **query), sent)
