import hashlib
import random
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # the SDK ships no types
from twilio.twiml.voice_response import (  # type: ignore[import-untyped]  # the SDK ships no types
    Connect,
    Hangup,
    Parameter,
    Reject,
    Say,
    Stream,
    VoiceResponse,
)

from tandem.carriers.forms import parse_form
from tandem.carriers.twilio_webhook import (
    Keys,
    Verdict,
    Webhook,
    connect_stream,
    empty,
    hangup,
    reject_busy,
    say_and_hangup,
    signature,
    verify,
    verify_upgrade,
    voice_request,
)
from tandem.carriers.xml_answer import XmlAnswer

TOKEN = "0123456789abcdef0123456789abcdef"
KEYS = Keys((TOKEN,))
ORIGIN = "https://bridge.example.com"
CALL = "CA00000000000000000000000000000002"
FORM = (
    b"AccountSid=AC00000000000000000000000000000001&ApiVersion=2010-04-01&CallSid=CA00000000000000000000000000000002"
    b"&CallStatus=ringing&Called=%2B15550001000&Caller=%2B15550002000&Direction=inbound&From=%2B15550002000"
    b"&To=%2B15550001000&CallerName=Ann+%26+Bob+%C3%9Cn%C3%AF&StirVerstat="
)
FORM_TYPE = "application/x-www-form-urlencoded; charset=UTF-8"
T1 = "yIaj+JNbs+3BiFM46wC16TDw2wU="


def post(signed: str = T1, *, body: bytes = FORM, path: str = "/twilio/voice", query: str = "", **more: str) -> Webhook:
    return Webhook("POST", path, query, more.get("content_type", FORM_TYPE), body, signed, more.get("settings", ""))


# The vectors of the specification


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://bridge.example.com/twilio/voice", T1),
        ("https://bridge.example.com/twilio/voice?tenant=acme&lang=en", "GLelojyFctPrPjaRkHuEoPA/Ixg="),
        ("https://bridge.example.com:443/twilio/voice", "XeF/SaUoMtUCr0fXPv4PC+gS18k="),
        ("https://bridge.example.com:8443/twilio/voice", "SacG2hU9b4opqaLpNjtDLrUVx4Q="),
    ],
)
def test_form_vectors(url: str, expected: str) -> None:
    pairs = parse_form(FORM).pairs
    assert signature(url, pairs, TOKEN) == expected
    parts = urlsplit(url)
    verdict = verify(post(expected, query=parts.query), f"{parts.scheme}://{parts.netloc}", KEYS)
    assert verdict.genuine
    assert verdict.url == url


T3_QUERY = "CallSid=CA00000000000000000000000000000002&From=%2B15550002000&To=%2B15550001000"


def test_get_has_its_parameters_in_the_url_only() -> None:
    request = Webhook("GET", "/twilio/fallback", T3_QUERY, signature="1rHEUAlAEVROL6cdU/+itne28iU=")
    verdict = verify(request, ORIGIN, KEYS)
    assert verdict.genuine
    assert verdict.form is not None
    assert voice_request(verdict.form).caller == "+15550002000"
    added_twice = Webhook("GET", "/twilio/fallback", T3_QUERY, signature="crlE0Qo+MWW1l61WQ05PFfvrLVM=")
    assert not verify(added_twice, ORIGIN, KEYS).genuine


@pytest.mark.parametrize(
    ("given", "genuine"),
    [
        ("Kk7xpN50S9pa5q7Y0Gn/Z2UyJik=", True),
        ("ekTnbDsznDALoJOpQXWeGwWnDW4=", False),  # over https://
        ("qiTndjeuCda1xOx/NTJoyoBl+58=", False),  # with a slash at the end
        ("", False),
        ("schön", False),
    ],
)
def test_upgrade_vectors(given: str, genuine: bool) -> None:
    verdict = verify_upgrade("/twilio/media/abc123", ORIGIN, KEYS, given=given)
    assert verdict.genuine is genuine
    assert verdict.url == "wss://bridge.example.com/twilio/media/abc123"


def test_upgrade_with_the_port_spelled_out() -> None:
    verdict = verify_upgrade("/twilio/media/abc123", ORIGIN, KEYS, given="1exGNZB5sEdXJjskDuDmXndji+M=")
    assert verdict.genuine
    assert verdict.url == "wss://bridge.example.com:443/twilio/media/abc123", "the log says which spelling it was"


JSON = b'{"CallSid":"CA00000000000000000000000000000002","Event":"test"}'
JSON_QUERY = "bodySHA256=ff939108e1b958335c6244a9195d1a582011f6eac4bcd7bbcb5ff00c0cd0b498"


def test_a_json_body_is_vouched_for_by_its_hash() -> None:
    def request(body: bytes, query: str = JSON_QUERY, signed: str = "B9lWwjppQ/qb6BHw/SOhZjTDTqk=") -> Webhook:
        return post(signed, body=body, path="/twilio/json", query=query, content_type="application/json")

    assert verify(request(JSON), ORIGIN, KEYS).genuine
    assert "bodySHA256" in verify(request(JSON + b" "), ORIGIN, KEYS).reason
    other = "bodySHA256=" + hashlib.sha256(b"{}").hexdigest()
    assert not verify(request(b"{}", other), ORIGIN, KEYS).genuine
    plain = signature(ORIGIN + "/twilio/json", (), TOKEN)
    assert "no bodySHA256" in verify(request(JSON, "", plain), ORIGIN, KEYS).reason


T7 = "GXXXoWdPEm+MYcl+Rxg6XG5FzB4rPyBJQ51Dgwml9nA="
SETTINGS = "key=shared_1,algorithm=HMAC_SHA256"


def test_shared_keys() -> None:
    with_key = Keys((TOKEN,), {"shared_1": "shared-key-secret-EXAMPLE"})
    assert verify(post(T7, settings=SETTINGS), ORIGIN, with_key).genuine
    assert verify(post(T1), ORIGIN, with_key).genuine, "without the header it is the auth token's signature"
    assert not verify(post(T7), ORIGIN, with_key).genuine
    assert not verify(post(T7, settings=SETTINGS), ORIGIN, KEYS).genuine
    over_token = signature(ORIGIN + "/twilio/voice", parse_form(FORM).pairs, TOKEN, "HMAC_SHA256")
    assert not verify(post(over_token, settings=SETTINGS), ORIGIN, with_key).genuine
    assert "not configured" in verify(post(T7, settings="key=other,algorithm=HMAC_SHA256"), ORIGIN, with_key).reason
    assert "not supported" in verify(post(T1, settings="algorithm=NONE"), ORIGIN, with_key).reason


def test_repeated_names() -> None:
    body = b"A=2&A=1&A=2&b=x&B=y"
    assert verify(post("AvIGjPzFa8r69+r6+4UFe9CGY3E=", body=body), ORIGIN, KEYS).genuine


# Beyond the vectors


def test_the_secondary_token_during_rotation() -> None:
    assert verify(post(), ORIGIN, Keys(("new", TOKEN))).genuine
    assert not verify(post(), ORIGIN, Keys(("new",))).genuine
    assert not verify(post(), ORIGIN, Keys(())).genuine


def test_a_public_url_with_a_path_and_a_slash() -> None:
    url = "https://bridge.example.com/tandem/twilio/voice"
    signed = signature(url, parse_form(FORM).pairs, TOKEN)
    assert verify(post(signed), "https://bridge.example.com/tandem/", KEYS).url == url


def test_the_path_is_signed_as_it_was_written() -> None:
    path = "/twilio/caf%C3%A9%2Fa"
    signed = signature(ORIGIN + path, parse_form(FORM).pairs, TOKEN)
    assert verify(post(signed, path=path), ORIGIN, KEYS).genuine
    assert not verify(post(signed, path="/twilio/café/a"), ORIGIN, KEYS).genuine


fields = st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=8)


def as_dict(pairs: list[tuple[str, str]]) -> Any:
    class Multi(dict[str, list[str]]):
        def getall(self, name: str) -> list[str]:
            return self[name]

    multi = Multi()
    for name, value in pairs:
        multi.setdefault(name, []).append(value)
    return multi


@given(pairs=fields, port=st.sampled_from(["", ":443", ":8443"]), query=st.sampled_from(["", "a=b&c=%20"]))
def test_we_and_the_sdk_accept_each_other(pairs: list[tuple[str, str]], port: str, query: str) -> None:
    origin = f"https://bridge.example.com{port}"
    url = f"{origin}/twilio/voice" + (f"?{query}" if query else "")
    sdk = RequestValidator(TOKEN)
    ours = signature(url, pairs, TOKEN)
    assert sdk.compute_signature(url, as_dict(pairs)) == ours
    assert sdk.validate(url, as_dict(pairs), ours)
    request = post(ours, body=urlencode(pairs).encode(), query=query)
    verdict = verify(request, origin, KEYS)
    assert verdict.genuine
    assert verdict.form is not None
    assert list(verdict.form.pairs) == pairs


@pytest.mark.parametrize("configured", ["", ":443", ":8443"])
@pytest.mark.parametrize("signed", ["", ":443", ":8443", ":80"])
def test_ports_are_accepted_as_the_sdk_does(configured: str, signed: str) -> None:
    pairs = parse_form(FORM).pairs
    given = signature(f"https://bridge.example.com{signed}/twilio/voice", pairs, TOKEN)
    origin = f"https://bridge.example.com{configured}"
    sdk = RequestValidator(TOKEN).validate(f"{origin}/twilio/voice", dict(pairs), given)
    assert verify(post(given), origin, KEYS).genuine is sdk


def mutations(seed: int, count: int) -> list[tuple[Webhook, str]]:
    """One change each to something that is signed, or to the signature."""
    chance = random.Random(seed)
    made: list[tuple[Webhook, str]] = []
    letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    while len(made) < count:
        what = chance.choice(["body", "body", "signature", "path", "query", "origin", "field"])
        body, given, path, query, origin = FORM, T1, "/twilio/voice", "", ORIGIN
        match what:
            case "body":
                at = chance.randrange(len(body))
                body = body[:at] + bytes([chance.choice(letters)]) + body[at + chance.choice([0, 1]) :]
            case "signature":
                at = chance.randrange(len(given))
                given = given[:at] + chr(chance.choice(letters)) + given[at + 1 :]
            case "path":
                at = chance.randrange(len(path))
                path = path[:at] + chr(chance.choice(letters)) + path[at + 1 :]
            case "query":
                query = f"a{chance.randrange(10**6)}=1"
            case "origin":
                origin = f"https://x{chance.randrange(10**6)}.example.com"
            case _:
                body += b"&Extra%d=%d" % (chance.randrange(10**6), chance.randrange(10**6))
        made.append((post(given, body=body, path=path, query=query), origin))
    return made


def test_ten_thousand_forgeries() -> None:
    original = parse_form(FORM).pairs
    tried = 0
    for request, origin in mutations(seed=18, count=12_000):
        verdict = verify(request, origin, KEYS)
        if request.signature == T1 and request.path == "/twilio/voice" and not request.query and origin == ORIGIN:
            try:
                same = sorted(parse_form(request.body).pairs) == sorted(original)
            except ValueError:
                same = False
            if same:  # e.g. `%C3` written as `%c3`: the same form
                assert verdict.genuine
                continue
        tried += 1 if request != post() else 0
        assert request == post() or not verdict.genuine
        assert verdict.form is None or verdict.genuine
    assert tried >= 10_000


@given(
    method=st.sampled_from(["GET", "POST", "PUT", ""]),
    path=st.text(),
    query=st.text(),
    kind=st.text(),
    body=st.binary(),
    given_signature=st.text(),
    settings=st.text(),
)
def test_verify_takes_anything(
    method: str, path: str, query: str, kind: str, body: bytes, given_signature: str, settings: str
) -> None:
    request = Webhook(method, path, query, kind, body, given_signature, settings)
    assert verify(request, ORIGIN, KEYS).genuine is False
    assert verify_upgrade(path, ORIGIN, KEYS, given=given_signature, settings=settings).genuine is False


def test_secrets_and_numbers_do_not_print() -> None:
    verdict = verify(post(), ORIGIN, KEYS)
    assert verdict.form is not None
    shown = repr(KEYS) + repr(verdict) + repr(voice_request(verdict.form))
    assert TOKEN not in shown
    assert "15550002000" not in shown


# What it says


@pytest.mark.parametrize(("body", "reason"), [(b"a=%ff", "UTF-8"), (b"a" * 65537, "larger")])
def test_a_form_that_cannot_be_read_is_refused_and_says_why(body: bytes, reason: str) -> None:
    assert reason in verify(post(body=body), ORIGIN, KEYS).reason


def test_a_voice_request_needs_a_call() -> None:
    request = voice_request(parse_form(FORM))
    assert request.call_id == CALL
    assert request.account_id == "AC00000000000000000000000000000001"
    assert (request.status, request.direction, request.called) == ("ringing", "inbound", "+15550001000")
    for bad in (b"", b"CallSid=", b"CallSid=CA1", b"CallSid=" + CALL.encode() + b"%0A"):
        with pytest.raises(ValueError, match="CallSid"):
            voice_request(parse_form(bad))


# TwiML


def canonical(xml: bytes | str) -> str:
    return ET.canonicalize(xml.decode() if isinstance(xml, bytes) else xml)


def test_connect_stream_is_what_the_sdk_writes() -> None:
    expected = VoiceResponse()
    stream = Stream(
        url="wss://b.example/m/t", status_callback="https://b.example/s?a=1&b=2", status_callback_method="POST"
    )
    stream.append(Parameter(name="session", value="8f14"))
    connect = Connect(action="https://b.example/after", method="POST")
    connect.append(stream)
    expected.append(connect)
    expected.append(Hangup())
    made = connect_stream(
        "wss://b.example/m/t",
        action_url="https://b.example/after",
        status_callback_url="https://b.example/s?a=1&b=2",
        parameters={"session": "8f14"},
    )
    assert canonical(made.body) == canonical(str(expected))
    assert made.content_type.startswith("text/xml")
    assert made.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?><Response>')


def test_small_documents_are_what_the_sdk_writes() -> None:
    def written(*verbs: Any) -> str:
        response = VoiceResponse()
        for verb in verbs:
            response.append(verb)
        return canonical(str(response))

    assert canonical(reject_busy().body) == written(Reject(reason="busy"))
    assert canonical(hangup().body) == written(Hangup())
    assert canonical(say_and_hangup("Wir sind <gleich> zurück & da", language="de-DE").body) == written(
        Say("Wir sind <gleich> zurück & da", language="de-DE"), Hangup()
    )
    assert canonical(empty().body) == written()


HOSTILE = [
    "</Say><Dial>+1900</Dial>",
    '"><Redirect>x</Redirect>',
    "]]>",
    "&lt;",
    "<!-- -->",
    "\x00\x1b[31m",
    "\ud800",
    "\uffff",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text(text: str) -> None:
    said = ET.fromstring(say_and_hangup(text).body)  # noqa: S314 - our own document
    assert [verb.tag for verb in said] == ["Say", "Hangup"]
    document = connect_stream("wss://b.example/m", parameters={"caller": text}).body
    connected = ET.fromstring(document)  # noqa: S314 - our own document
    assert [element.tag for element in connected.iter()] == ["Response", "Connect", "Stream", "Parameter", "Hangup"]


@given(st.text())
def test_any_text_makes_a_document_that_parses(text: str) -> None:
    said = ET.fromstring(say_and_hangup(text).body)  # noqa: S314 - our own document
    assert [verb.tag for verb in said] == ["Say", "Hangup"]


@pytest.mark.parametrize(
    "url", ["wss://b.example/m?token=1", "https://b.example/m", "/m", "wss:///m", "wss://b.example/m#f", ""]
)
def test_a_stream_url_that_twilio_would_not_take(url: str) -> None:
    with pytest.raises(ValueError, match="a stream needs"):
        connect_stream(url)


def test_parameters_have_a_limit() -> None:
    connect_stream("wss://b.example/m", parameters={"n": "v" * 498})
    with pytest.raises(ValueError, match="too long"):
        connect_stream("wss://b.example/m", parameters={"n": "v" * 499})


def test_urls_with_many_parameters_survive_the_markup() -> None:
    url = "https://b.example/after?a=1&b=%22x%22"
    made: XmlAnswer = connect_stream("wss://b.example/m", action_url=url)
    connect = ET.fromstring(made.body).find("Connect")  # noqa: S314 - our own document
    assert connect is not None
    assert connect.get("action") == url
    assert parse_qs(urlsplit(url).query) == {"a": ["1"], "b": ['"x"']}


def test_a_refusal_carries_no_form() -> None:
    assert verify(post("wrong"), ORIGIN, KEYS) == Verdict(
        False, "https://bridge.example.com/twilio/voice", "the signature does not match"
    )
    assert verify(post(""), ORIGIN, KEYS).reason == "no signature"
