"""The environment, read once: every variable with its meaning, and every mistake told at once.

The values of secrets never leave this module except into the hands that need them: no message here shows one.
"""

from __future__ import annotations

import difflib
import os
import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, field_validator

from tandem import logs
from tandem.carriers.telnyx import ByteOrder
from tandem.carriers.telnyx_webhook import public_key
from tandem.carriers.twilio_webhook import shared_keys
from tandem.cast import check_tools, fit_agents, providers_of, read_routes
from tandem.guests import networks
from tandem.origins import is_local, origin_of
from tandem.providers_from_env import (
    Choice,
    choose,
    default_names,
    embedded_only,
    fit,
    instance_prefixes,
    secret_variables,
    variables_of,
)
from tandem.routing import Routes
from tandem.tolls import doubts, is_number, is_sip, parse_allow
from tandem.tools.wanted import WantedTools, wanted_tools
from tandem.voices import process_config
from tandem_providers.models import remarks
from tandem_providers.table import KINDS, ProviderKind

DEMO_ACCOUNT_SID: Final = "AC" + "0" * 32
DEMO_AUTH_TOKEN: Final = "tandem-demo"  # noqa: S105  # known to everyone on purpose: it opens only a server without keys
TWILIO_API_URL: Final = "https://api.twilio.com"
TELNYX_API_URL: Final = "https://api.telnyx.com"
PLIVO_API_URL: Final = "https://api.plivo.com"

PREFIXES: Final = ("TANDEM_", "TWILIO_", "TELNYX_", "PLIVO_", *(kind.prefix for kind in KINDS.values()))
"""Names that begin so are ours. Some programs know others with such a beginning: those are refused all the same,
because a key under a wrong name looks just like that."""
# Kubernetes gives each pod such variables for a service that is called "tandem".
_SERVICE_LINK = re.compile(r"TANDEM_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP)(_(ADDR|PORT|PROTO))?)")

log = logs.get(__name__)


class SettingsError(Exception):
    """The environment can't be used. Its text has one line a problem, each with the variable's name."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """With what Twilio signs, and where its API is."""

    account_sid: str
    auth_token: str = field(repr=False)
    api_url: str = TWILIO_API_URL
    shared_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secrets by id of the shared keys with which it may sign instead."""
    demo: bool = False
    """The well-known account of a server that has no keys at all: whoever signs with it may talk to the echo."""


@dataclass(frozen=True, slots=True)
class TelnyxAccount:
    """With what Telnyx signs, where its API is, and how its streams are asked for."""

    public_key: bytes
    api_key: str = field(repr=False)
    api_url: str = TELNYX_API_URL
    codec: str = "PCMU"
    """A name of `tandem.carriers.telnyx.CODECS`."""
    l16_order: ByteOrder = "little"
    connection_id: str = ""


@dataclass(frozen=True, slots=True)
class PlivoAccount:
    """With what Plivo signs, where its API is, and how its streams are asked for."""

    auth_id: str
    auth_token: str = field(repr=False)
    api_url: str = PLIVO_API_URL
    codec: str = "mulaw"
    """A name of `tandem.carriers.plivo.CODECS`."""
    signature_v2: bool = False


class Settings(BaseModel):
    """Each field is the environment variable of the same name in capitals; its description is the documentation."""

    model_config = ConfigDict(frozen=True, alias_generator=str.upper, hide_input_in_errors=True, allow_inf_nan=False)

    host: str = Field("127.0.0.1", description="Address to listen on (0.0.0.0 in the container).")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    public_url: str = Field(
        "",
        description="Origin that carriers see, such as https://voice.example.com. Signatures are checked against it "
        "and stream URLs are built from it, never from the Host header. Default: http://localhost:PORT.",
    )
    instance_url: str = Field(
        "",
        description="Origin by which carriers reach this very instance, where several share PUBLIC_URL: all that "
        "belongs to a call comes back to the instance that has it. Default: PUBLIC_URL.",
    )
    secret_key: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_urlsafe(32)),
        description="Signs stream tokens. Random at each start when unset; several instances need the same one.",
    )
    api_token: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_urlsafe(24)),
        description="Bearer token of /calls. Random at each start when unset, and printed once.",
    )
    providers: str = Field(
        "",
        description="Ordered, comma-separated: primary, then fallbacks. openai@backup is a second instance of openai "
        "that reads BACKUP_OPENAI_... before OPENAI_... Default: every provider with a key; echo if there is none.",
    )
    instructions: str = Field("", description="What the agent is told to be and to do.")
    greeting: str = Field("", description="First words of the agent. Default: left to the agent.")
    voice: str = Field("", description="Voice of the agent; a provider's own ..._VOICE wins over it.")
    temperature: float | None = Field(
        None, ge=0, le=2, description="Randomness of the model, where it has such a thing."
    )
    twilio_account_sid: str = Field("", description="Twilio account (AC...).")
    twilio_auth_token: SecretStr = Field(SecretStr(""), description="Twilio auth token; checks signatures.")
    twilio_api_url: str = Field(
        TWILIO_API_URL,
        description="Twilio's API, for tests and other regions (https://api.dublin.ie1.twilio.com; the region has "
        "credentials of its own).",
    )
    twilio_shared_keys: SecretStr = Field(
        SecretStr(""),
        description="Shared keys that Twilio may sign with (SHA-256) instead of the auth token: ID:SECRET, "
        "comma-separated.",
    )
    telnyx_api_key: SecretStr = Field(SecretStr(""), description="Telnyx API key (KEY...); answers and ends calls.")
    telnyx_public_key: str = Field(
        "", description="The Telnyx account's public key, as the portal shows it; checks signatures."
    )
    telnyx_api_url: str = Field(TELNYX_API_URL, description="Telnyx's API, for tests.")
    telnyx_connection_id: str = Field(
        "", description="Id of the Voice API application that places Telnyx calls. Needed for outbound calls only."
    )
    telnyx_codec: Literal["PCMU", "PCMA", "L16", "L16/8000"] = Field(
        "PCMU", description="What Telnyx calls are asked to be streamed in: PCMU, PCMA, L16 (16 kHz) or L16/8000."
    )
    telnyx_l16_order: Literal["little", "big"] = Field(
        "little", description="Byte order of Telnyx's L16: its documentation does not say. Wrong is loud noise."
    )
    plivo_auth_id: str = Field("", description="Plivo account (MA...).")
    plivo_auth_token: SecretStr = Field(SecretStr(""), description="Plivo auth token; checks signatures, ends calls.")
    plivo_api_url: str = Field(PLIVO_API_URL, description="Plivo's API, for tests.")
    plivo_codec: Literal["mulaw", "l16", "l16/8000"] = Field(
        "mulaw", description="What Plivo calls are streamed in: mulaw (8 kHz), l16 (linear, 16 kHz) or l16/8000."
    )
    plivo_signature_v2: bool = Field(
        False, description="true takes Plivo's old V2 signatures, too: they cover no parameter of a request."
    )
    routes_file: str = Field(
        "",
        description="File (TOML, or YAML when it is called so) that says which agent answers which called number.",
    )
    call_webhook_url: str = Field(
        "",
        description="Asked before a call is answered: who shall answer it, and whether. Its word is above the file's.",
    )
    call_webhook_secret: SecretStr = Field(
        SecretStr(""), description="Signs the questions to CALL_WEBHOOK_URL (HMAC-SHA256)."
    )
    call_webhook_allow_private: bool = Field(
        False, description="true asks CALL_WEBHOOK_URL even when its address is private, such as of this machine."
    )
    outbound_from: str = Field("", description="Our number that is shown to whoever is called (POST /calls).")
    outbound_allow: str = Field(
        "",
        description="What may be called or transferred to: comma-separated beginnings of numbers (+49) and SIP hosts "
        "(sip:pbx.example.com, sip:*.example.com). Default: everything but premium, satellite and special numbers.",
    )
    outbound_per_minute: float = Field(
        10, gt=0, description="Calls placed and transfers begun in a minute; one number is called twice in ten minutes."
    )
    tools_file: str = Field(
        "", description="File with tools of the agent (JSON or YAML): functions, each with a URL that does the work."
    )
    tools_secret: SecretStr = Field(
        SecretStr(""), description="Signs what is sent to the tools' URLs; a tool may have a secret of its own."
    )
    tools_allow_private: bool = Field(
        False, description="true lets tools and MCP servers be in one's own network, and be reached with plain http."
    )
    mcp_servers: SecretStr = Field(
        SecretStr(""),
        description="MCP servers whose tools the agent may use: name=https://..., name=command line, or a JSON list.",
    )
    builtin_tools: str = Field(
        "", description="What the agent may do with its call: hang_up, transfer_call, send_dtmf. Default: nothing."
    )
    transfer_targets: str = Field(
        "", description="Whom transfer_call may hand a call over to: name=+15551234567,other=sip:desk@example.com."
    )
    max_calls: int = Field(
        150,
        ge=1,
        description="Calls at once; a further one hears that all lines are busy. The default is what one core was "
        "measured to carry, transcoded, while it is less than half busy.",
    )
    max_starts_per_second: float = Field(
        25, gt=0, description="Calls taken in one second; further ones are refused as busy."
    )
    trusted_proxies: str = Field(
        "",
        description="Public addresses or networks of proxies in front, comma-separated: connections from there are not "
        "limited per address. Private ones need not be named.",
    )
    max_call_seconds: float = Field(3600, gt=0, description="Longest call; the caller is told before it ends.")
    silence_seconds: float = Field(
        60, gt=0, description="A caller who says nothing for that long is asked, then let go."
    )
    drain_seconds: float = Field(3600, ge=0, description="How long SIGTERM waits for calls to end.")
    connect_seconds: float = Field(
        5, gt=0, description="Time for one provider to become ready before the next is tried."
    )
    hedge_seconds: float = Field(
        0,
        ge=0,
        description="When the first provider is not ready after that time, the next is opened beside it and the first "
        "that is ready wins. Default 0: one after the other.",
    )
    failover_number: str = Field(
        "",
        description="Number (E.164) or SIP URI that a caller is put through to, after an apology, when no provider can "
        "be had any more. Default: the call is ended.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error."
    )
    log_format: Literal["json", "console"] = Field(
        default_factory=lambda: "console" if sys.stderr.isatty() else "json",
        description="json or console. Default: console on a terminal, else json.",
    )
    log_redact: bool = Field(True, description="false shows phone numbers and words in logs.")

    _choices: tuple[Choice, ...] = PrivateAttr(())
    _tools: WantedTools = PrivateAttr(WantedTools())
    _every: Mapping[str, Choice] = PrivateAttr({})
    _routes: Routes = PrivateAttr(Routes())
    _warnings: tuple[str, ...] = PrivateAttr(())
    _keys: tuple[str, ...] = PrivateAttr(())

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The providers to use: primary, then fallbacks."""
        return self._choices

    @property
    def tools(self) -> WantedTools:
        """What the agent may have done."""
        return self._tools

    @property
    def every_choice(self) -> Mapping[str, Choice]:
        """These and all others that an agent of `ROUTES_FILE` asks for, by name."""
        return self._every

    @property
    def routes(self) -> Routes:
        """Who answers which call."""
        return self._routes

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works but is probably not meant, one sentence each."""
        return self._warnings

    @property
    def origin(self) -> str:
        """`PUBLIC_URL` or its default, without a slash at the end: what carriers are set to."""
        return self.public_url or f"http://localhost:{self.port}"

    @property
    def own_origin(self) -> str:
        """`INSTANCE_URL` or its default, without a slash at the end: for what belongs to a call of this instance."""
        return self.instance_url or self.origin

    @property
    def origins(self) -> tuple[str, ...]:
        """All by which carriers reach us: what they sign is of one of them."""
        return tuple(dict.fromkeys((self.origin, self.own_origin)))

    @property
    def api_token_is_ours(self) -> bool:
        """Nobody set it: it must be told once, or nobody knows it."""
        return "api_token" not in self.model_fields_set

    @property
    def secret_key_is_shared(self) -> bool:
        """Somebody set it: there may be other instances that accept our stream tokens."""
        return "secret_key" in self.model_fields_set

    @property
    def twilio(self) -> TwilioAccount | None:
        """Whose requests are accepted. None: nobody's, the routes are not there."""
        if self.twilio_account_sid:
            return TwilioAccount(
                self.twilio_account_sid,
                self.twilio_auth_token.get_secret_value(),
                self.twilio_api_url,
                shared_keys(self.twilio_shared_keys.get_secret_value()),
            )
        if embedded_only(self._choices) and not (self.telnyx_public_key or self.plivo_auth_id):
            return TwilioAccount(DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN, self.twilio_api_url, demo=True)
        return None

    @property
    def carriers(self) -> tuple[str, ...]:
        """Whose routes are there."""
        return tuple(name for name in ("twilio", "telnyx", "plivo") if getattr(self, name) is not None)

    @property
    def demo(self) -> bool:
        """Nobody has an account here: only who signs with the well-known one is let in."""
        return self.twilio is not None and self.twilio.demo

    @property
    def telnyx(self) -> TelnyxAccount | None:
        """Whose webhooks are accepted, and who is told to answer. None: the routes are not there."""
        if not self.telnyx_public_key:
            return None
        return TelnyxAccount(
            public_key(self.telnyx_public_key),
            self.telnyx_api_key.get_secret_value(),
            self.telnyx_api_url,
            self.telnyx_codec,
            self.telnyx_l16_order,
            self.telnyx_connection_id,
        )

    @property
    def plivo(self) -> PlivoAccount | None:
        """Whose webhooks are accepted, and over whose API calls are ended. None: the routes are not there."""
        if not self.plivo_auth_id:
            return None
        return PlivoAccount(
            self.plivo_auth_id,
            self.plivo_auth_token.get_secret_value(),
            self.plivo_api_url,
            self.plivo_codec,
            self.plivo_signature_v2,
        )

    def secret_values(self) -> list[str]:
        """Everything that must not appear in any output."""
        own = [v.get_secret_value() for _, v in self if isinstance(v, SecretStr)]
        shared = shared_keys(self.twilio_shared_keys.get_secret_value()).values()
        return [value for value in (*own, *shared, *self._keys, *self._tools.secrets) if value]

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("public_url", "instance_url", "twilio_api_url")
    @classmethod
    def _is_origin(cls, value: str) -> str:
        return origin_of(value) if value else value

    @field_validator("telnyx_api_url")
    @classmethod
    def _is_telnyx_api(cls, value: str) -> str:
        return origin_of(value.rstrip("/").removesuffix("/v2"))

    @field_validator("twilio_shared_keys")
    @classmethod
    def _is_shared_keys(cls, value: SecretStr) -> SecretStr:
        shared_keys(value.get_secret_value())
        return value

    @field_validator("call_webhook_url")
    @classmethod
    def _is_webhook(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None):
            raise ValueError("write a whole URL without a password, as in https://example.com/calls")
        return value

    @field_validator("outbound_allow")
    @classmethod
    def _is_allow(cls, value: str) -> str:
        parse_allow(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _is_networks(cls, value: str) -> str:
        networks(value)
        return value

    @field_validator("failover_number", "outbound_from")
    @classmethod
    def _is_reachable(cls, value: str) -> str:
        if value and not is_number(value) and not is_sip(value):
            raise ValueError("write an E.164 number (+15551234567) or a SIP URI (sip:user@host)")
        return value

    @field_validator("plivo_api_url")
    @classmethod
    def _is_plivo_api(cls, value: str) -> str:
        return origin_of(value.rstrip("/").removesuffix("/v1"))

    @field_validator("telnyx_public_key")
    @classmethod
    def _is_public_key(cls, value: str) -> str:
        if value:
            public_key(value)
        return value

    @field_validator("api_token", "twilio_auth_token", "telnyx_api_key", "plivo_auth_token")
    @classmethod
    def _is_plain(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("has characters that can't travel in a header; use letters, digits and punctuation")
        return value


def load(
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = Path(".env"),
    kinds: Mapping[str, ProviderKind] = KINDS,
) -> Settings:
    """Read and check everything. The real environment wins over the file; an empty value counts as unset.

    Raises:
        SettingsError: with all problems, not only the first.
    """
    given = _merged(os.environ if environ is None else environ, dotenv)
    problems: list[str] = []
    warnings: list[str] = []
    names = {name.upper() for name in Settings.model_fields}
    settings: Settings | None = None
    try:
        settings = Settings.model_validate({name: given[name] for name in names & given.keys()})
    except ValidationError as error:
        problems += [_explain(given, e) for e in error.errors(include_url=False)]
    routes = read_routes(given.get("ROUTES_FILE", ""), problems)
    usual, more = default_names(given, kinds), providers_of(routes, kinds, problems)
    choices = choose(given, kinds, problems, warnings, more)
    # Variables of instances are known for each that is used, whoever uses it.
    used = {**given, "PROVIDERS": ",".join([given.get("PROVIDERS", ""), *more])}
    _check_names(used, names | variables_of(kinds, used), problems, warnings)
    _check_pairs(given, problems)
    for choice in choices:
        warnings += [f"{choice.name}: {each}" for each in remarks(choice.kind.name, choice.options, date.today())]
    if settings is not None:
        settings._tools = wanted_tools(settings, given, problems)
        check_tools(routes, settings._tools, problems)
        every = {choice.name: choice for choice in choices}
        config, greeting = process_config(settings), settings.greeting
        choices = fit([every[name] for name in usual if name in every], config, greeting, problems, warnings)
        settings._every = fit_agents(routes, choices, every, config, greeting, problems, warnings)
        settings._routes = routes
        _look_twice(settings, given, warnings)
    if problems or settings is None:
        raise SettingsError(problems)
    settings._choices = tuple(choices)
    settings._warnings = tuple(warnings)
    settings._keys = tuple(given[name] for name in secret_variables(kinds, given) & given.keys())
    return settings


@cache
def current() -> Settings:
    """The settings of this process: read once, so that what is random stays the same.

    Raises:
        SettingsError: see `load`.
    """
    return load()


def _merged(environ: Mapping[str, str], dotenv: Path | None) -> dict[str, str]:
    from_file: Mapping[str, str | None] = {}
    if dotenv is not None and dotenv.is_file():
        # No ${...} in it is replaced: a secret may contain one.
        from_file = dotenv_values(dotenv, interpolate=False, encoding="utf-8-sig")
    merged = {name: value.strip() for name, value in from_file.items() if value}
    merged.update({name: value.strip() for name, value in environ.items()})
    return {name: value for name, value in merged.items() if value}


def _explain(given: Mapping[str, str], error: Any) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    about = Settings.model_fields.get(name.lower())
    hidden = about is not None and about.annotation is SecretStr
    shown = "" if hidden or name not in given else f" {given[name]!r}:"
    return f"{name}:{shown} {message[:1].lower()}{message[1:]}"


def _check_names(given: Mapping[str, str], known: set[str], problems: list[str], warnings: list[str]) -> None:
    """A misspelt name must not be a setting that silently does nothing."""
    prefixes = (*PREFIXES, *(instance + prefix for instance in instance_prefixes(given) for prefix in PREFIXES))
    for name in sorted(given.keys() - known):
        unused = next((n for n in known if n.startswith(PREFIXES) and name.endswith(f"_{n}")), "")
        if _SERVICE_LINK.fullmatch(name) or (name == "TANDEM_PORT" and given[name].startswith("tcp://")):
            continue
        elif name.startswith(prefixes):
            problems.append(f"{name}: there is no such variable{_hint(name.removeprefix('TANDEM_'), known, 0.6)}")
        elif unused:
            warnings.append(f"{name} does nothing: PROVIDERS names no {_instance(name, unused)}")
        elif hint := _hint(name, known, 0.88):
            warnings.append(f"{name} is not a variable of Tandem and does nothing{hint}")


def _instance(name: str, variable: str) -> str:
    return f"{variable.split('_')[0].lower()}@{name.removesuffix(variable).strip('_').replace('_', '-').lower()}"


def _hint(name: str, known: set[str], likeness: float) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=likeness)
    return f"; did you mean {near[0]}?" if near else ""


_PAIRS: Final = (
    ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"),
    ("TELNYX_API_KEY", "TELNYX_PUBLIC_KEY"),
    ("PLIVO_AUTH_ID", "PLIVO_AUTH_TOKEN"),
    ("CALL_WEBHOOK_URL", "CALL_WEBHOOK_SECRET"),
)
"""Variables that are no use one without the other."""


def _check_pairs(given: Mapping[str, str], problems: list[str]) -> None:
    for pair in _PAIRS:
        for there, missing in (pair, pair[::-1]):
            if there not in given or missing in given:
                continue
            problems.append(f"{missing}: is missing; {there} is set, and one is no use without the other")


def _look_twice(settings: Settings, given: Mapping[str, str], warnings: list[str]) -> None:
    sid = settings.twilio_account_sid
    if sid and not re.fullmatch(r"AC[0-9a-fA-F]{32}", sid):
        warnings.append("TWILIO_ACCOUNT_SID does not look like one (AC and 32 hexadecimal digits)")
    if settings.plivo_auth_id and not re.fullmatch(r"(MA|SA)[0-9A-Z]{18}", settings.plivo_auth_id):
        warnings.append("PLIVO_AUTH_ID does not look like one (MA, or SA of a subaccount, and 18 letters and digits)")
    if any(each.startswith("http://") and not is_local(each) for each in (settings.origin, settings.own_origin)):
        name = "INSTANCE_URL" if settings.origin.startswith("https://") else "PUBLIC_URL"
        warnings.append(f"{name} is not https: Twilio opens media streams only over wss")
    ways_out = {f"TRANSFER_TARGETS: {name}": to for name, to in settings.tools.targets.items()}
    if settings.failover_number:
        ways_out["FAILOVER_NUMBER"] = settings.failover_number
    warnings += doubts(parse_allow(settings.outbound_allow), ways_out)
    if "SECRET_KEY" in given and len(settings.secret_key.get_secret_value()) < 16:
        warnings.append("SECRET_KEY is shorter than 16 characters and can be guessed")


def announce(settings: Settings) -> None:
    """Say at start what an operator must know. The generated API token is told here, and only here."""
    for warning in settings.warnings:
        log.warning("check the configuration", problem=warning)
    if settings.demo:
        log.warning("no keys are set: requests signed with the public demo account reach the embedded provider")
    if settings.api_token_is_ours:
        # Not a log line: logs are kept and shipped, and this is a password.
        sys.stdout.write(f"API token (random, until this process ends): {settings.api_token.get_secret_value()}\n")
        sys.stdout.flush()
