"""`tandem check`, the carriers' part: does a number lead here, and if not, what has to be changed in the console?

Everything is read over the carriers' APIs and named as their consoles name it. With `fix` the URLs of the numbers that
were asked about are set; a fallback or a status URL of one's own is left alone. Nothing else of an account is touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tandem.finding import Finding
from tandem.logs import Private
from tandem.origins import is_local
from tandem.rest.plivo import Application as PlivoApplication
from tandem.rest.plivo import Number as PlivoNumber
from tandem.rest.plivo import PlivoApi
from tandem.rest.port import CarrierApiError
from tandem.rest.table import open_apis
from tandem.rest.telnyx import Application, TelnyxApi
from tandem.rest.telnyx import Number as TelnyxNumber
from tandem.rest.twilio import Number, TwilioApi
from tandem.routing import normal
from tandem.settings import Settings
from tandem.tolls import is_number

MOST_APPLICATIONS = 25
"""Of one account that are looked at for whether they lead here."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for."""

    origin: str
    """`PUBLIC_URL`."""
    numbers: frozenset[str] = frozenset()
    """Those that shall lead here; empty: whichever do."""
    fix: bool = False

    def concerns(self, number: str) -> bool:
        return normal(number) in self.numbers

    def of(self, listed: Sequence[str]) -> Wish:
        """The same; in an account that has one number, that is the one, if none was named."""
        return self if self.numbers or len(listed) != 1 else replace(self, numbers=frozenset(map(normal, listed)))


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a console."""

    name: str
    """As the console has it."""
    now: str
    wanted: str
    must: bool = True
    """Without it no call comes in."""
    own: bool = False
    """Any value will do: somebody may have chosen another one with care."""

    @property
    def right(self) -> bool:
        return self.now == self.wanted or (self.own and bool(self.now))

    def finding(self, what: str) -> Finding:
        fix = f"set it to {self.wanted}, or run `tandem check --fix`"
        return Finding("wrong" if self.must else "warning", what, f"{self.name!r} is {self.now or 'empty'}", fix)


async def carriers(settings: Settings, numbers: Iterable[str] = (), *, fix: bool = False) -> list[Finding]:
    """Ask each carrier that these settings have an account for."""
    wish = Wish(settings.origin, frozenset(map(normal, numbers)) or routed(settings), fix)
    findings: list[Finding] = []
    if fix and is_local(settings.origin) and not all(map(is_local, _api_urls(settings))):
        # A number that works elsewhere must not be led to where no carrier can go.
        words = f"nothing is set at the carriers: they can not reach {settings.origin}"
        findings.append(Finding("wrong", "--fix", words, "set PUBLIC_URL, then run it again"))
        wish = replace(wish, fix=False)
    apis = await asyncio.to_thread(open_apis, settings)
    try:
        for api in apis.values():
            match api:
                case TwilioApi():
                    findings += await twilio(api, wish)
                case TelnyxApi():
                    findings += await telnyx(api, wish, settings.telnyx_connection_id)
                case PlivoApi():
                    findings += await plivo(api, wish)
                case _:
                    raise AssertionError(f"nothing is known of {type(api).__name__}")
    finally:
        for api in apis.values():
            await api.close()
    return findings


def _api_urls(settings: Settings) -> list[str]:
    """Of the carriers that these settings have an account for."""
    twilio_account = settings.twilio if settings.twilio is not None and not settings.twilio.demo else None
    accounts = (twilio_account, settings.telnyx, settings.plivo)
    return [account.api_url for account in accounts if account is not None]


def routed(settings: Settings) -> frozenset[str]:
    """The numbers that the file of routes names in full: they shall lead here."""
    return frozenset(number for route in settings.routes.routes for number in route.called if is_number(number))


# --- Twilio -----------------------------------------------------------------------------------------------------------


async def twilio(api: TwilioApi, wish: Wish) -> list[Finding]:
    """The account, and each of its numbers that leads here or shall."""
    try:
        status = (await api.account()).get("status")
    except CarrierApiError as error:
        return [_refused("Twilio", error, "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN", "TWILIO_API_URL")]
    if status != "active":
        return [Finding("wrong", "Twilio account", f"is {status}", "see Twilio's console")]
    findings = [Finding("ok", "Twilio account", "is active")]
    voice = f"{wish.origin}/twilio/voice"
    try:
        listed = await api.numbers()
    except CarrierApiError as error:
        fix = f"look yourself whether 'A call comes in' of your number is {voice}"
        return [*findings, Finding("warning", "Twilio numbers", f"can't be listed: {error}", fix)]
    wish = wish.of([number.number for number in listed])
    ours = [number for number in listed if number.voice_url == voice or wish.concerns(number.number)]
    findings += _led(
        "Twilio", "'A call comes in'", voice, wish, [n.number for n in listed], [n.voice_url == voice for n in listed]
    )
    for number in ours:
        what = f"Twilio {Private(number.number)}"
        if number.application_sid:
            kind = "a SIP trunk" if number.application_sid.startswith("TK") else "a TwiML App"
            findings.append(
                Finding(
                    "wrong",
                    what,
                    f"'Configure with' is {kind} ({number.application_sid}), so its URLs are not asked",
                    "choose 'Webhook, TwiML Bin, Function, Studio Flow, Proxy Service'",
                )
            )
            continue
        fields = [
            Field("A call comes in", number.voice_url, voice),
            Field("A call comes in, HTTP", number.voice_method, "POST", must=False),
            Field("Primary handler fails", number.voice_fallback_url, f"{voice}?after=failure", must=False, own=True),
            Field("Call status changes", number.status_callback, f"{wish.origin}/twilio/status", must=False, own=True),
        ]
        findings += await _judge(what, fields, wish, _twilio_fixed(api, number, fields))
    return findings


def _twilio_fixed(api: TwilioApi, number: Number, fields: list[Field]) -> Callable[[], Awaitable[None]]:
    voice, _, fallback, status = (field.now if field.right else field.wanted for field in fields)
    return lambda: api.set_urls(number, voice, status, fallback)


# --- Telnyx -----------------------------------------------------------------------------------------------------------


async def telnyx(api: TelnyxApi, wish: Wish, connection_id: str = "") -> list[Finding]:
    """The applications that numbers lead to, and the one that places calls."""
    try:
        listed = await api.numbers()
        wish = wish.of([number.number for number in listed])
        known = await _applications(api, listed, wish)
        places = await api.application(connection_id) if connection_id else None
    except CarrierApiError as error:
        return [_refused("Telnyx", error, "TELNYX_API_KEY", "TELNYX_API_URL")]
    findings = [Finding("ok", "Telnyx account", "the API key is good")]
    if connection_id and (places is None or places.kind != "call-control"):
        found = f"{connection_id} is no Voice API application of this account"
        fix = "copy the id of an application from 'Voice > Programmable Voice' in the portal"
        findings.append(Finding("wrong", "TELNYX_CONNECTION_ID", found, fix))
    here = {id_ for id_, each in known.items() if each is not None and each.url in _telnyx_urls(wish)}
    leads = [number.connection_id in here for number in listed]
    where = "the webhook URL of its application"
    findings += _led("Telnyx", where, f"{wish.origin}/telnyx/events", wish, [number.number for number in listed], leads)
    for number in (each for each in listed if wish.concerns(each.number)):
        what = f"Telnyx {Private(number.number)}"
        if not number.connection_id:
            fix = "choose an application at the number ('Numbers', 'SIP connection/application')"
            findings.append(Finding("wrong", what, "is assigned to no application", fix))
        elif known.get(number.connection_id) is None:
            found = f"leads to {number.connection_name or 'a connection'}, which is no Voice API or TeXML application"
            findings.append(Finding("wrong", what, found, "assign it to an application of one of these two kinds"))
    wanted = {number.connection_id for number in listed if wish.concerns(number.number)}
    for application in known.values():
        if application is not None and application.id in wanted | here:
            findings += await _telnyx_application(api, application, wish)
    return findings


async def _applications(api: TelnyxApi, listed: list[TelnyxNumber], wish: Wish) -> dict[str, Application | None]:
    """What numbers lead to: those first that are asked about."""
    order = sorted(listed, key=lambda number: not wish.concerns(number.number))
    ids = [*dict.fromkeys(number.connection_id for number in order if number.connection_id)][:MOST_APPLICATIONS]
    return {id_: await api.application(id_) for id_ in ids}


def _telnyx_urls(wish: Wish) -> tuple[str, str]:
    return f"{wish.origin}/telnyx/events", f"{wish.origin}/telnyx/voice"


async def _telnyx_application(api: TelnyxApi, application: Application, wish: Wish) -> list[Finding]:
    what = f"Telnyx application {application.name}"
    events, voice = _telnyx_urls(wish)
    if application.kind == "call-control":
        fields = [
            Field("Send a webhook to the URL", application.url, events),
            Field("Send a webhook to a failover URL", application.fallback_url, events, must=False, own=True),
        ]
    else:
        fields = [
            Field("Voice URL", application.url, voice),
            Field("Voice method", application.method, "POST", must=False),
            Field("Voice fallback URL", application.fallback_url, voice, must=False, own=True),
            Field("Status callback", application.status_url, f"{wish.origin}/telnyx/status", must=False, own=True),
        ]
    values = {field.name: field.now if field.right else field.wanted for field in fields}
    urls = [value for name, value in values.items() if name != "Voice method"]

    async def mend() -> None:
        await api.set_urls(application, *urls)

    findings = await _judge(what, fields, wish, mend)
    if not application.active:
        findings.append(Finding("wrong", what, "is not active", "switch it on in the portal"))
    if application.api_version == "1":
        fix = "set 'Webhook API version' to API v2"
        findings.append(Finding("wrong", what, "'Webhook API version' is API v1", fix))
    return findings


# --- Plivo ------------------------------------------------------------------------------------------------------------


async def plivo(api: PlivoApi, wish: Wish) -> list[Finding]:
    """The applications that numbers lead to."""
    try:
        listed = await api.numbers()
        wish = wish.of([number.number for number in listed])
        order = sorted(listed, key=lambda number: not wish.concerns(number.number))
        ids = [*dict.fromkeys(number.application_id for number in order if number.application_id)][:MOST_APPLICATIONS]
        known = {id_: await api.application(id_) for id_ in ids}
    except CarrierApiError as error:
        return [_refused("Plivo", error, "PLIVO_AUTH_ID and PLIVO_AUTH_TOKEN", "PLIVO_API_URL")]
    findings = [Finding("ok", "Plivo account", "the credentials are good")]
    answer = f"{wish.origin}/plivo/voice"
    here = {id_ for id_, each in known.items() if each is not None and each.answer_url == answer}
    leads = [number.application_id in here for number in listed]
    findings += _led(
        "Plivo", "the answer URL of its application", answer, wish, [number.number for number in listed], leads
    )
    for number in (each for each in listed if wish.concerns(each.number)):
        findings += _plivo_number(number, known)
    wanted = {number.application_id for number in listed if wish.concerns(number.number)}
    for application in known.values():
        if application is not None and application.id in wanted | here:
            findings += await _plivo_application(api, application, wish)
    return findings


def _plivo_number(number: PlivoNumber, known: dict[str, PlivoApplication | None]) -> list[Finding]:
    what = f"Plivo {Private(number.number)}"
    if not number.voice_enabled:
        return [Finding("wrong", what, "can not take voice calls", "choose another number")]
    if known.get(number.application_id) is None:
        fix = "choose 'XML Application' as its application type, and an application"
        return [Finding("wrong", what, "is assigned to no XML application", fix)]
    return []


async def _plivo_application(api: PlivoApi, application: PlivoApplication, wish: Wish) -> list[Finding]:
    what = f"Plivo application {application.name}"
    answer = f"{wish.origin}/plivo/voice"
    fields = [
        Field("Primary answer URL", application.answer_url, answer),
        Field("Hangup URL", application.hangup_url, f"{wish.origin}/plivo/status", must=False, own=True),
        Field("Fallback answer URL", application.fallback_url, answer, must=False, own=True),
        Field("Primary answer URL, method", application.answer_method, "POST", must=False),
    ]
    urls = [field.now if field.right else field.wanted for field in fields[:3]]

    async def mend() -> None:
        await api.set_urls(application, *urls)

    findings = await _judge(what, fields, wish, mend)
    if not application.enabled:
        findings.append(Finding("wrong", what, "is not enabled", "enable it in the console"))
    return findings


# --- what they have in common -----------------------------------------------------------------------------------------


def _led(carrier: str, where: str, url: str, wish: Wish, listed: Sequence[str], leads: Sequence[bool]) -> list[Finding]:
    """How many numbers lead here; and those that were asked about and are of another account."""
    what = f"{carrier} numbers"
    missing = wish.numbers - {normal(each) for each in listed}
    here = [str(Private(normal(each))) for each, lead in zip(listed, leads, strict=True) if lead]
    findings: list[Finding] = []
    if here:
        findings.append(Finding("ok", what, f"{len(here)} of {len(listed)} lead here: {', '.join(here[:_SHOWN])}"))
    elif wish.fix and (wish.numbers - missing or len(listed) == 1):
        pass  # it is about to
    else:
        fix = f"set {where} to {url}, or name the number: `tandem check --fix --number +...`"
        findings.append(Finding("warning", what, f"none of {len(listed)} leads here", fix))
    if wish.numbers and len(missing) == len(wish.numbers):
        findings.append(Finding("warning", what, "the numbers that were named are not of this account"))
    return findings


async def _judge(what: str, fields: list[Field], wish: Wish, mend: Callable[[], Awaitable[None]]) -> list[Finding]:
    """What is not right; once it is mended, what has been set."""
    wrong = [field for field in fields if not field.right]
    if not wrong:
        return [Finding("ok", what, "is set up as it should be")]
    if not wish.fix:
        return [field.finding(what) for field in wrong]
    try:
        await mend()
    except CarrierApiError as error:
        return [*(field.finding(what) for field in wrong), Finding("wrong", what, f"can't be changed: {error}")]
    return [Finding("ok", what, f"{field.name!r} was {field.now or 'empty'}; set to {field.wanted}") for field in wrong]


def _refused(carrier: str, error: CarrierApiError, keys: str, url: str) -> Finding:
    what = f"{carrier} account"
    if error.status in (401, 403, 404):
        fix = f"copy {keys} from the console again"
        return Finding("wrong", what, f"credentials refused ({error.status})", fix)
    if error.status is None:
        return Finding("wrong", what, str(error), f"check the network and {url}")
    return Finding("wrong", what, str(error), "try again later")
