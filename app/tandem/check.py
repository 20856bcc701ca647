"""`tandem check`: tries what the configuration promises, from this machine, and says what to fix.

Nothing here places or disturbs a call: sessions are opened and closed again, and the one signed request is a status
callback for a call that does not exist. What the carriers are asked is in `check_carriers`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

from tandem.carriers.twilio_webhook import signature
from tandem.check_carriers import carriers
from tandem.finding import Finding
from tandem.origins import is_local
from tandem.providers_from_env import Choice
from tandem.routing import normal
from tandem.screen import Screen
from tandem.settings import Settings, TwilioAccount
from tandem.voices import build, process_config
from tandem_codecs.format import MULAW_8K
from tandem_providers.errors import (
    AuthenticationFailedError,
    ConnectionFailedError,
    InvalidConfigError,
    ProviderError,
    RateLimitedError,
)
from tandem_providers.events import Event, SessionReady
from tandem_providers.provider import Opening

HTTP_SECONDS: Final = 10.0


async def run(screen: Screen, settings: Settings, numbers: Iterable[str] = (), *, fix: bool = False) -> int:
    """Look at everything and show it. Returns the exit status: 1 when something is wrong.

    `numbers` are those that shall lead here; with `fix` their URLs are set.
    """
    findings = configuration(settings)
    with screen.busy("opening a session on each provider"):
        findings += await asyncio.gather(*(provider(settings, choice) for choice in settings.choices))
    if settings.tools:
        from tandem.check_tools import tools  # schemas and YAML are for those who have tools

        with screen.busy("looking at the tools"):
            findings += await tools(settings.tools)
    with screen.busy(f"looking at {' and '.join(settings.origins)}"):
        findings += await public_url(settings)
    with screen.busy("asking the carriers"):
        findings += await carriers(settings, numbers, fix=fix)
    rows = [[each.verdict, each.what, each.found, each.fix] for each in findings]
    screen.table("Check", ["", "what", "found", "to do"], rows)
    wrong = sum(each.verdict == "wrong" for each in findings)
    screen.say(f"{wrong} to fix" if wrong else "Everything that was tried works.", "red" if wrong else "green")
    return 1 if wrong else 0


def configuration(settings: Settings) -> list[Finding]:
    """What was said about it when it was read."""
    names = ", ".join(choice.name for choice in settings.choices)
    findings = [Finding("ok", "configuration", f"valid; providers: {names}")]
    findings += [Finding("warning", "configuration", warning) for warning in settings.warnings]
    if not settings.carriers:
        fix = "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or the like of another carrier"
        findings.append(Finding("warning", "carrier", "none is configured; no call can come in", fix))
    elif settings.demo:
        findings.append(
            Finding("ok", "carrier", "the public demo account (no keys are set): only `tandem call` gets in")
        )
    return findings


# Providers


async def provider(settings: Settings, choice: Choice) -> Finding:
    """Open a real session, as a call would."""
    what = f"provider {choice.name}"
    ready: list[SessionReady] = []

    def note(event: Event) -> None:
        if isinstance(event, SessionReady):
            ready.append(event)

    voice = build(choice)
    opening = Opening(greeting=settings.greeting)
    began = time.monotonic()
    try:
        async with (
            asyncio.timeout(settings.connect_seconds),
            voice.connect(process_config(settings), note, leg=MULAW_8K, opening=opening) as session,
        ):
            took = (time.monotonic() - began) * 1000
            formats = f"{session.input_format} in, {session.output_format} out"
    except TimeoutError:
        seconds = f"{settings.connect_seconds:g} s"
        return Finding("wrong", what, f"not ready within {seconds}", "check the network, or raise CONNECT_SECONDS")
    except ProviderError as error:
        return Finding("wrong", what, str(error), _remedy(error))
    finally:
        await voice.close()
    model = f"model {ready[0].model}, " if ready and ready[0].model else ""
    return Finding("ok", what, f"session ready in {took:.0f} ms: {model}{formats}")


def _remedy(error: ProviderError) -> str:
    match error:
        case AuthenticationFailedError():
            return "check the key, and that its project may use the model"
        case RateLimitedError(exhausted=True):
            return "add credit to the account"
        case RateLimitedError():
            return "wait, or ask for higher limits"
        case InvalidConfigError():
            return "check the provider's variables, the model first"
        case ConnectionFailedError():
            return "check the URL, DNS and the firewall"
    return "try again later; look at the provider's status page"


# The public URL


async def public_url(settings: Settings) -> list[Finding]:
    """Can the world find this server at `PUBLIC_URL`, and `INSTANCE_URL`, and is it one of ours that answers there?"""
    findings = await _reached(settings, settings.origin)
    if settings.own_origin != settings.origin:
        own = await _reached(settings, settings.own_origin)
        findings += [replace(each, fix=each.fix.replace("PUBLIC_URL", "INSTANCE_URL")) for each in own]
    return findings


async def _reached(settings: Settings, origin: str) -> list[Finding]:
    what, findings = "public URL", list[Finding]()
    untried = settings.demo or not settings.carriers
    if is_local(origin):
        fix = "set PUBLIC_URL to the https address that your proxy or tunnel gives you"
        findings.append(Finding("warning" if untried else "wrong", what, f"{origin} is this machine only", fix))
    else:
        findings.append(await _dns(origin))
        if findings[0].verdict == "wrong":
            return findings
    answer = await _healthz(origin, settings.carriers)
    if answer.verdict == "ok":
        findings += [answer, await _upgrade(origin)]
        if settings.twilio is not None:
            findings.append(await _signed(settings.twilio, origin))
    else:
        # Who has set nothing up yet need not have a server running.
        findings.append(replace(answer, verdict="warning") if untried and is_local(origin) else answer)
    return findings


async def _dns(origin: str) -> Finding:
    host = urlsplit(origin).hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding("wrong", "DNS", f"{host}: {error.strerror or error}", "create the DNS record, or fix PUBLIC_URL")
    addresses = sorted({str(entry[4][0]) for entry in found})
    private = [address for address in addresses if not ipaddress.ip_address(address.partition("%")[0]).is_global]
    if private:
        return Finding("warning", "DNS", f"{host} is {', '.join(private)}", "carriers need a public address")
    return Finding("ok", "DNS", f"{host} is {', '.join(addresses)}")


async def _healthz(origin: str, carriers: Iterable[str] = ()) -> Finding:
    what = "server"
    try:
        async with _http(origin) as http:
            answer = await http.get(f"{origin}/healthz")
    except httpx.ConnectError as error:
        if isinstance(_cause(error), ssl.SSLError):
            return Finding("wrong", "TLS", f"{origin}: {error}", "carriers want a certificate that the world trusts")
        fix = "start the server (tandem serve), and the proxy or tunnel in front of it"
        return Finding("wrong", what, f"nothing answers at {origin}", fix)
    except httpx.HTTPError as error:
        return Finding("wrong", what, f"{origin}: {type(error).__name__}", "look at the proxy or tunnel")
    if answer.is_redirect:
        target = answer.headers.get("location", "")
        return Finding(
            "wrong",
            what,
            f"{origin} redirects to {target}",
            "set PUBLIC_URL to where it leads; webhooks are not redirected",
        )
    if answer.status_code != 200 or not _is_ours(answer):
        fix = "let the proxy pass /healthz and the carriers' paths on, unchanged"
        return Finding("wrong", what, f"something else answers at {origin} ({answer.status_code})", fix)
    if missing := [name.capitalize() for name in carriers if name not in answer.json().get("carriers", ())]:
        found = f"the Tandem that answers at {origin} has no keys of {' and '.join(missing)}"
        return Finding("wrong", what, found, "restart it with this configuration")
    return Finding("ok", what, f"a Tandem answers at {origin}")


def _is_ours(answer: httpx.Response) -> bool:
    try:
        body: Any = answer.json()
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("service") == "tandem"


async def _upgrade(origin: str) -> Finding:
    """A WebSocket with a made-up token must come as far as our refusal."""
    what, address = "WebSocket", f"{origin.replace('http', 'ws', 1)}/twilio/media/{secrets.token_urlsafe(8)}"
    try:
        async with connect(address, open_timeout=HTTP_SECONDS, compression=None):
            return Finding("wrong", what, "a stream without a valid token was accepted", "something else answers there")
    except InvalidStatus as error:
        if error.response.status_code == 403:
            return Finding("ok", what, "upgrades reach the server")
        found = f"the upgrade was answered with {error.response.status_code}"
    except (OSError, InvalidHandshake, InvalidMessage, TimeoutError) as error:
        found = f"no upgrade: {type(error).__name__}"
    return Finding("wrong", what, found, "let the proxy pass WebSocket upgrades on (Connection and Upgrade headers)")


async def _signed(account: TwilioAccount, origin: str) -> Finding:
    """A callback signed as the carrier would: the running server must have our token and our PUBLIC_URL."""
    what, url = "signature", f"{origin}/twilio/status"
    fields = {"AccountSid": account.account_sid, "CallSid": "CA" + secrets.token_hex(16), "CallStatus": "ringing"}
    headers = {
        "X-Twilio-Signature": signature(url, list(fields.items()), account.auth_token),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    try:
        async with _http(origin) as http:
            answer = await http.post(url, content=urlencode(fields), headers=headers)
    except httpx.HTTPError as error:
        return Finding("wrong", what, f"no answer: {type(error).__name__}", "look at the proxy or tunnel")
    if answer.is_success:
        return Finding("ok", what, "the running server accepts what this configuration signs")
    if answer.status_code == 404:
        fix = "restart it with this configuration"
        return Finding("wrong", what, "the running server has other carrier credentials", fix)
    fix = "give the running server the same TWILIO_AUTH_TOKEN and PUBLIC_URL, and restart it"
    return Finding("wrong", what, f"the running server refuses it ({answer.status_code})", fix)


def _http(origin: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=HTTP_SECONDS, follow_redirects=False, verify=origin.startswith("https"), trust_env=False
    )


def _cause(error: BaseException) -> BaseException:
    """The first of all."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        if isinstance(error, ssl.SSLError):
            break
        error = deeper
    return error


# Routes


def route(screen: Screen, settings: Settings, called: str, caller: str = "", carrier: str = "") -> int:
    """Say who would answer a call to that number, and why. Returns the exit status."""
    routed = settings.routes.choose(called, caller, carrier)
    agent, config = routed.agent, routed.agent.config(process_config(settings))
    providers = agent.providers or tuple(choice.name for choice in settings.choices)
    greeting = agent.greeting if agent.greeting is not None else settings.greeting
    rows = [
        ["agent", agent.name],
        ["why", routed.why],
        ["providers", ", ".join(providers)],
        ["instructions", _short(config.instructions) or "(none)"],
        ["greeting", _short(greeting) or "(the agent's own words)"],
        ["voice", config.voice or "(the provider's)"],
        ["longest call", f"{agent.max_call_seconds or settings.max_call_seconds:g} s"],
    ]
    screen.table(f"A call to {normal(called)}", ["", ""], rows)
    if settings.call_webhook_url:
        screen.say("CALL_WEBHOOK_URL is asked first, and may say otherwise.", "yellow")
    return 0


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:97]}..."
