import random
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plivo.utils import validate_signature, validate_v3_signature  # type: ignore[import-untyped]  # the same
from plivo.xml import (  # type: ignore[import-untyped]  # the SDK ships no types
    DialElement,
    HangupElement,
    NumberElement,
    ResponseElement,
    SpeakElement,
    StreamElement,
    UserElement,
)

from tandem.carriers.forms import parse_form
from tandem.carriers.plivo_webhook import (
    Keys,
    Verdict,
    Webhook,
    busy,
    dial,
    empty,
    hangup,
    number,
    signature_v2,
    signature_v3,
    speak_and_hangup,
    stream_answer,
    upgrade_signed_as,
    verify,
    voice_request,
)

TOKEN = "PLIVOAUTHTOKENEXAMPLE0000000000000000000"
KEYS = Keys(TOKEN)
NONCE = "12345678901234567890"
ORIGIN = "https://bridge.example.com"
PATH = "/plivo/answer"
URL = ORIGIN + PATH
CALL = "97ceeb52-58b6-11e1-86da-77300b68f8bb"
PARAMETERS = {
    "CallUUID": CALL,
    "From": "15550002000",
    "To": "15550001000",
    "CallStatus": "ringing",
    "Direction": "inbound",
    "Event": "StartApp",
    "BillRate": "0.0055",
    "CallerName": "Ann & Bob",
}
FORM = urlencode(PARAMETERS).encode()
FORM_TYPE = "application/x-www-form-urlencoded"
P1 = "wZzBlC7T9ex7RAHzAZKRgGeA/B2HuXDlXd03kFzN3ao="
P2 = "PqBnZNw3oxfgPBlBAO2H2Dg6Nbrr0LE17kqL6zcS2xA="
V2 = "wr7Msmdd4nahDUYw+7nCWvJ6YeisqFqnpWfpNZr5mWo="


def signed(value: str = P1, nonce: str = NONCE, name: str = "x-plivo-signature-v3") -> dict[str, str]:
    version = "v2" if name.endswith("v2") else "v3"
    return {name: value, f"x-plivo-signature-{version}-nonce": nonce}


def post(
    headers: Mapping[str, str] | None = None,
    *,
    body: bytes = FORM,
    path: str = PATH,
    query: str = "",
    kind: str = FORM_TYPE,
) -> Webhook:
    return Webhook("POST", path, query, kind, body, signed() if headers is None else headers)


# The vectors of the specification


@pytest.mark.parametrize(
    ("name", "method", "url", "form", "expected"),
    [
        ("P1", "POST", URL, FORM, P1),
        ("P2", "POST", f"{URL}?tenant=acme&lang=en", FORM, P2),
        ("P3", "POST", URL, b"", "/6BBwOMr4sDg0klqUeTNr7JeyWng7XtJvYtnL9rmg5U="),
        ("P3b", "POST", f"{URL}?z=1&a=2", b"", "xvx23HGI8fQ65gY6Bc6KdA+Cynm0NJu6aHqiq/KWYuc="),
        (
            "P4",
            "GET",
            f"{URL}?To=15550001000&From=15550002000&CallUUID={CALL}&CallerName=Ann%20%26%20Bob",
            b"",
            "cEvUTnZta6U34dB4e4oIzu5XRXxG3rFnPb+oA8ieqt0=",
        ),
        ("P6", "POST", URL, b"a=2&a=1&B=y&b=x", "Qk75EgcDEaoK3IPDPA4dVeOwiXPmnOyd0JGO60uDcZY="),
        ("P7", "POST", "https://bridge.example.com:8443/plivo/answer", b"From=1",
         "WpYi4e8q1+3g9g2jaTKirqQVGmbOHeQMAETefbDcD7o="),
    ],
)  # fmt: skip
def test_v3_vectors(name: str, method: str, url: str, form: bytes, expected: str) -> None:
    assert signature_v3(method, url, parse_form(form).pairs, NONCE, TOKEN) == expected
    parts = urlsplit(url)
    request = Webhook(method, parts.path, parts.query, FORM_TYPE if form else "", form, signed(expected))
    verdict = verify(request, f"{parts.scheme}://{parts.netloc}", KEYS)
    assert verdict.genuine, name
    assert (verdict.url, verdict.nonce, verdict.own) == (url, NONCE, True)
    assert verdict.form == parse_form(form or parts.query.encode() if method == "GET" else form)


@pytest.mark.parametrize("query", ["", "a=1", "tenant=acme&lang=en"])
def test_the_v2_vector_counts_only_where_it_is_asked_for(query: str) -> None:
    headers = signed(V2, name="x-plivo-signature-v2")
    assert signature_v2(f"{URL}?{query}", NONCE, TOKEN) == V2
    assert not verify(post(headers, query=query), ORIGIN, KEYS).genuine
    assert verify(post(headers, query=query), ORIGIN, Keys(TOKEN, v2=True)).genuine
    main = signed(V2, name="x-plivo-signature-ma-v2")
    assert not verify(post(main, query=query), ORIGIN, KEYS).genuine
    verdict = verify(post({**main, "x-plivo-signature-v2-nonce": NONCE}), ORIGIN, Keys(TOKEN, v2=True))
    assert verdict.genuine
    assert not verdict.own


@pytest.mark.parametrize(
    ("header", "genuine"),
    [
        (f"AAAA,{P1}", True),
        (f"AAAA, {P1}", True),
        (f"{P1},AAAA", True),
        (f" {P1} ", True),
        (",".join(["AAAA"] * 15 + [P1]), True),
        (",".join(["AAAA"] * 16 + [P1]), False),  # longer than any list of Plivo's
        (P1[:-1], False),
        (P1.lower(), False),
        ("", False),
        (",", False),
        ("schön", False),
    ],
)
def test_a_header_may_have_several_signatures(header: str, genuine: bool) -> None:
    assert verify(post(signed(header)), ORIGIN, KEYS).genuine is genuine


def test_a_subaccounts_call_is_signed_with_the_main_accounts_token() -> None:
    verdict = verify(post(signed(name="x-plivo-signature-ma-v3")), ORIGIN, KEYS)
    assert verdict.genuine
    assert not verdict.own
    both = {**signed("other"), "x-plivo-signature-ma-v3": P1}
    assert not verify(post(both), ORIGIN, KEYS).own
    assert verify(post({**both, "x-plivo-signature-v3": P1}), ORIGIN, KEYS).own


@pytest.mark.parametrize(
    ("origin", "spelled"),
    [
        (ORIGIN, "https://bridge.example.com:443/plivo/answer"),
        ("https://bridge.example.com:8443", "https://bridge.example.com/plivo/answer"),
        ("https://bridge.example.com/", URL),
    ],
)
def test_the_url_may_be_spelled_with_its_port_or_without(origin: str, spelled: str) -> None:
    expected = signature_v3("POST", spelled, parse_form(FORM).pairs, NONCE, TOKEN)
    verdict = verify(post(signed(expected)), origin, KEYS)
    assert verdict.genuine
    assert verdict.url == spelled, "the log says which spelling it was"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Webhook("PUT", PATH, headers=signed()), "only GET and POST"),
        (Webhook("post", PATH, "", FORM_TYPE, FORM, signed()), "only GET and POST"),
        (post({}), "no signature"),
        (post({"x-plivo-signature-v3": P1}), "does not match"),
        (post(signed(nonce="")), "does not match"),
        (post(kind="application/json", body=b"{}"), "no form"),
        (post(kind="multipart/form-data; boundary=x"), "no form"),
        (post(kind="", body=FORM), "no form"),
        (post(body=b"a=%ff"), "UTF-8"),
        (post(body=b"a" * 65537), "larger"),
        (post(query="a=%ff"), "UTF-8"),
    ],
)
def test_a_refusal_says_why_and_carries_no_form(request_: Webhook, reason: str) -> None:
    verdict = verify(request_, ORIGIN, KEYS)
    assert not verdict.genuine
    assert reason in verdict.reason
    assert verdict.form is None
    assert verdict.nonce == ""
    assert verdict.url == f"{URL}?{request_.query}" if request_.query else URL


def test_a_get_is_no_post() -> None:
    """The same parameters with another method are another request."""
    query = urlencode(PARAMETERS)
    as_get = signature_v3("GET", f"{URL}?{query}", (), NONCE, TOKEN)
    assert verify(Webhook("GET", PATH, query, headers=signed(as_get)), ORIGIN, KEYS).genuine
    assert not verify(post(signed(as_get)), ORIGIN, KEYS).genuine
    assert not verify(Webhook("GET", PATH, query, headers=signed(P1)), ORIGIN, KEYS).genuine


# The vendor's SDK as an oracle, both ways

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
plain = st.text(st.sampled_from("abcXYZ019-_.~ &=+/?#%"), max_size=12)


@given(
    st.dictionaries(words.filter(bool), st.lists(words, min_size=1, max_size=3), max_size=6),
    st.lists(st.tuples(plain.filter(bool), plain), max_size=4),
    plain,
)
def test_what_we_sign_the_sdk_takes(fields: dict[str, list[str]], query: list[tuple[str, str]], nonce: str) -> None:
    pairs = [(name, value) for name, values in fields.items() for value in values]
    url = f"{URL}?{urlencode(query)}" if query else URL
    ours = signature_v3("POST", url, pairs, nonce, TOKEN)
    assert validate_v3_signature("POST", url, nonce, TOKEN, ours, dict(fields))
    ours = signature_v3("GET", url, (), nonce, TOKEN)
    assert validate_v3_signature("GET", url, nonce, TOKEN, ours)
    assert validate_signature(url, nonce, signature_v2(url, nonce, TOKEN), TOKEN)


def sdk_signature(method: str, url: str, params: dict[str, Any], nonce: str) -> str:
    """As the SDK computes it before it compares."""
    from plivo.utils import signature_v3 as sdk

    base = sdk.construct_get_url(url, {}) if method == "GET" else sdk.construct_post_url(url, params)
    value: bytes = sdk.get_signature_v3(TOKEN, base.decode(), nonce)
    return value.decode()


@given(
    st.dictionaries(words.filter(bool), st.lists(words, min_size=1, max_size=3), max_size=6),
    st.lists(st.tuples(plain.filter(bool), plain), max_size=4),
)
def test_what_the_sdk_signs_we_take(fields: dict[str, list[str]], query: list[tuple[str, str]]) -> None:
    asked = urlencode(query)
    url = f"{URL}?{asked}" if query else URL
    body = urlencode([(name, value) for name, values in fields.items() for value in values]).encode()
    given_ = sdk_signature("POST", url, dict(fields), NONCE)
    assert verify(post(signed(given_), body=body, query=asked), ORIGIN, KEYS).genuine
    given_ = sdk_signature("GET", url, {}, NONCE)
    assert verify(Webhook("GET", PATH, asked, headers=signed(given_)), ORIGIN, KEYS).genuine


# Forgeries

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def mutations(seed: int, count: int) -> list[tuple[Webhook, str]]:
    """One change each to something that is signed, or to the signature."""
    chance = random.Random(seed)
    made: list[tuple[Webhook, str]] = []
    while len(made) < count:
        what = chance.choice(["body", "body", "signature", "nonce", "path", "query", "origin", "field", "method"])
        body, value, nonce, path, query, origin, method = FORM, P2, NONCE, PATH, "tenant=acme&lang=en", ORIGIN, "POST"
        match what:
            case "body":
                at = chance.randrange(len(body))
                body = body[:at] + chance.choice(LETTERS).encode() + body[at + chance.choice([0, 1]) :]
            case "signature":
                at = chance.randrange(len(value))
                value = value[:at] + chance.choice(LETTERS) + value[at + 1 :]
            case "nonce":
                at = chance.randrange(len(nonce))
                nonce = nonce[:at] + chance.choice(LETTERS) + nonce[at + chance.choice([0, 1]) :]
            case "path":
                at = chance.randrange(1, len(path))
                path = path[:at] + chance.choice(LETTERS) + path[at + chance.choice([0, 1]) :]
            case "query":
                at = chance.randrange(len(query))
                query = query[:at] + chance.choice(LETTERS) + query[at + chance.choice([0, 1]) :]
            case "origin":
                origin = f"https://x{chance.randrange(10**6)}.example.com"
            case "method":
                method = chance.choice(["GET", "PUT", "post", ""])
            case _:
                body += b"&Extra%d=%d" % (chance.randrange(10**6), chance.randrange(10**6))
        made.append((Webhook(method, path, query, FORM_TYPE, body, signed(value, nonce)), origin))
    return made


def test_r29_ten_thousand_forgeries() -> None:
    genuine = post(signed(P2), query="tenant=acme&lang=en")
    assert verify(genuine, ORIGIN, KEYS).genuine
    original = sorted(parse_form(FORM).pairs)
    tried = 0
    for request, origin in mutations(seed=18, count=12_000):
        if request == genuine and origin == ORIGIN:
            continue
        verdict = verify(request, origin, KEYS)
        try:
            same = sorted(parse_form(request.body).pairs) == original
        except ValueError:
            same = False
        if same and Webhook(**{**fields(request), "body": FORM}) == genuine and origin == ORIGIN:
            assert verdict.genuine  # e.g. `%2B` written as `%2b`: the same form
            continue
        tried += 1
        assert not verdict.genuine, request
        assert verdict.form is None
    assert tried >= 10_000


def fields(request: Webhook) -> dict[str, Any]:
    return {name: getattr(request, name) for name in ("method", "path", "query", "content_type", "headers")}


def test_no_token_is_no_master_key() -> None:
    assert not verify(post(signed(signature_v3("POST", URL, parse_form(FORM).pairs, NONCE, ""))), ORIGIN, KEYS).genuine


@given(
    method=st.sampled_from(["GET", "POST", "PUT", ""]),
    path=st.text(),
    query=st.text(),
    kind=st.sampled_from(["", FORM_TYPE, "application/json"]),
    body=st.binary(),
    value=st.text(),
    nonce=st.text(),
)
def test_verify_takes_anything(
    method: str, path: str, query: str, kind: str, body: bytes, value: str, nonce: str
) -> None:
    names = ("x-plivo-signature-v3", "x-plivo-signature-ma-v3", "x-plivo-signature-v2", "x-plivo-signature-ma-v2")
    headers = dict.fromkeys(names, value)
    headers |= {"x-plivo-signature-v3-nonce": nonce, "x-plivo-signature-v2-nonce": nonce}
    request = Webhook(method, path, query, kind, body, headers)
    assert verify(request, ORIGIN, Keys(TOKEN, v2=True)).genuine is False
    assert upgrade_signed_as(path, ORIGIN, TOKEN, headers) == ""


def test_secrets_and_numbers_do_not_print() -> None:
    verdict = verify(post(), ORIGIN, KEYS)
    assert verdict.form is not None
    shown = repr(KEYS) + repr(verdict) + repr(voice_request(verdict.form))
    assert TOKEN not in shown
    assert "15550002000" not in shown


# The upgrade, for the log only


@pytest.mark.parametrize(
    ("url", "given_"),
    [
        ("https://bridge.example.com/plivo/media/abc123", "GH3NCc4RdJB5TWgTmETi7JJJHfWrdRusn9ZYLisr3yw="),
        ("http://bridge.example.com/plivo/media/abc123", "8STm/1jZ8XvmLXK/2xYIm0zQ+KtxlcODdpgqiIxNfcw="),
        ("wss://bridge.example.com/plivo/media/abc123", "UaU5yCuJSamna8Qcvp8xQe74Y6FEDSF4I0MuqGFE/RQ="),
        ("ws://bridge.example.com/plivo/media/abc123", "2QPvD4YG+GFOIocujufxD2XUEW/XSfPJZ+gpv1lH3gw="),
        ("https://bridge.example.com/plivo/media/abc123/websocket", "0aAvzgJ8hBXQbt89Nneoz0fSwr1LVPhLfu0icvwYLuc="),
        ("http://bridge.example.com/plivo/media/abc123/websocket", "/zBC65voaj0fYLJ+Bqvops4WPWQ8GmS2dQl81Z32xB0="),
        ("", P1),
        ("", ""),
    ],
)
def test_as_what_an_upgrade_was_signed(url: str, given_: str) -> None:
    assert upgrade_signed_as("/plivo/media/abc123", ORIGIN, TOKEN, signed(given_)) == url


# What it says


def test_a_voice_request() -> None:
    request = voice_request(parse_form(FORM))
    assert request.call_id == CALL
    assert (request.caller, request.called) == ("+15550002000", "+15550001000")
    assert (request.status, request.direction) == ("ringing", "inbound")
    assert not request.over
    for bad in (b"", b"CallUUID=", b"CallUUID=1", b"CallUUID=" + CALL.encode() + b"%0A", b"CallUUID=" + b"a" * 65):
        with pytest.raises(ValueError, match="CallUUID"):
            voice_request(parse_form(bad))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15550002000", "+15550002000"),
        ("+15550002000", "+15550002000"),
        ("sip:ann@phone.plivo.com", "sip:ann@phone.plivo.com"),
        ("anonymous", "anonymous"),
        ("123", "123"),
        ("0123456789", "0123456789"),
        ("", ""),
    ],
)
def test_numbers_get_the_plus_that_plivo_leaves_out(text: str, expected: str) -> None:
    assert number(text) == expected


@pytest.mark.parametrize("status", ["completed", "busy", "failed", "timeout", "no-answer", "Completed"])
def test_a_call_that_is_over(status: str) -> None:
    extra = {"CallStatus": status, "Event": "Hangup", "HangupCauseCode": "4010", "HangupCauseName": "End Of XML"}
    request = voice_request(parse_form(urlencode({**PARAMETERS, **extra}).encode()))
    assert request.over
    assert request.cause == "4010 End Of XML"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("StartStream", "started"), ("started", "started"), ("StopStream", "stopped"), ("stopped", "stopped"),
        ("DroppedStream", "failed"), ("failed", "failed"), ("DegradedStream", "degraded"), ("PlayedStream", "played"),
        ("ClearedAudio", "cleared"), ("SomethingNew", "SomethingNew"),
    ],
)  # fmt: skip
def test_events_of_a_stream_by_either_name(event: str, expected: str) -> None:
    extra = {"Event": event, "StreamID": "s", "StatusReason": "why", "CallStatus": "completed"}
    request = voice_request(parse_form(urlencode({**PARAMETERS, **extra}).encode()))
    assert (request.stream_event, request.stream_reason) == (expected, "why")
    assert not request.over, "a stream that ended is not a call that ended"


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"DialAction": "answer"}, "answered"),
        ({"DialAction": "connected"}, "answered"),
        ({"DialAction": "hangup", "CallStatus": "completed"}, "told"),
        ({"DialAction": "digits"}, "told"),
        ({"DialStatus": "completed", "CallStatus": "in-progress"}, "completed"),
        ({"DialStatus": "busy", "CallStatus": "in-progress"}, "busy"),
        ({}, ""),
    ],
)
def test_what_becomes_of_somebody_else(extra: dict[str, str], expected: str) -> None:
    """The caller's own leg is named beside the other one."""
    legs = {"CallUUID": "1111-2222-3333", "DialALegUUID": CALL, "DialBLegUUID": "1111-2222-3333"}
    request = voice_request(parse_form(urlencode({**PARAMETERS, **legs, **extra}).encode()))
    assert (request.call_id, request.dialled, request.over) == (CALL, expected, False)


# What we answer


def canonical(xml: bytes | str) -> str:
    return ET.canonicalize(xml.decode() if isinstance(xml, bytes) else xml, strip_text=True)


def test_the_stream_is_what_the_sdk_writes() -> None:
    expected = ResponseElement()
    expected.add(
        StreamElement(
            "wss://b.example/m/t?a=1&b=2",
            bidirectional=True,
            keepCallAlive=True,
            audioTrack="inbound",
            contentType="audio/x-mulaw;rate=8000",
            statusCallbackUrl="https://b.example/s?a=1&b=2",
            statusCallbackMethod="POST",
            extraHeaders="session=8f14",
        )
    )
    expected.add(HangupElement())
    made = stream_answer(
        "wss://b.example/m/t?a=1&b=2",
        content_type="audio/x-mulaw;rate=8000",
        status_url="https://b.example/s?a=1&b=2",
        session="8f14",
    )
    assert canonical(made.body) == canonical(expected.to_string())
    assert b">wss://b.example/m/t?a=1&amp;b=2</Stream>" in made.body, "the text is escaped"
    assert made.content_type.startswith("text/xml")


def test_small_documents_are_what_the_sdk_writes() -> None:
    def written(*elements: Any) -> str:
        response = ResponseElement()
        for element in elements:
            response.add(element)
        return canonical(response.to_string())

    assert canonical(busy().body) == written(HangupElement(reason="busy"))
    assert canonical(hangup().body) == written(HangupElement())
    assert canonical(speak_and_hangup("<gleich> zurück & da").body) == written(
        SpeakElement("<gleich> zurück & da"), HangupElement()
    )
    assert canonical(empty().body) == canonical(ResponseElement().to_string())


@pytest.mark.parametrize("to", ["+15550003000", "sip:ann@pbx.example.com"])
def test_putting_somebody_through_is_what_the_sdk_writes(to: str) -> None:
    url = "https://b.example/s?after=transfer&x=1"
    expected = ResponseElement()
    outer = DialElement(
        action=url,
        method="POST",
        timeout=20,
        caller_id="15550001000",
        callback_url=url,
        callback_method="POST",
        redirect=True,
    )
    outer.add(UserElement(to) if to.startswith("sip:") else NumberElement("15550003000"))
    expected.add(outer)
    expected.add(HangupElement())
    made = dial(to, caller_id="+15550001000", ring_seconds=20, after_url=url)
    assert canonical(made.body) == canonical(expected.to_string())
    anonymous = dial(to, caller_id="", ring_seconds=20, after_url=url)
    assert b"callerId" not in anonymous.body


@pytest.mark.parametrize(
    "url",
    ["https://b.example/m", "/m", "wss:///m", "wss://b.example/m#f", "", "wss://b.example/" + "a" * 2048],
)
def test_a_stream_url_that_plivo_would_not_take(url: str) -> None:
    with pytest.raises(ValueError, match="a stream needs"):
        stream_answer(url, content_type="audio/x-mulaw;rate=8000")


@pytest.mark.parametrize("session", ["a-b", "a_b", "a.b", "a=b", "a,b", "ü", "a" * 401])
def test_a_session_that_would_not_come_through(session: str) -> None:
    with pytest.raises(ValueError, match="letters and digits"):
        stream_answer("wss://b.example/m", content_type="audio/x-mulaw;rate=8000", session=session)


@given(st.text())
def test_any_text_makes_a_document_that_parses(text: str) -> None:
    said = ET.fromstring(speak_and_hangup(text).body)  # noqa: S314 - our own document
    assert [verb.tag for verb in said] == ["Speak", "Hangup"]


def test_urls_with_many_parameters_survive_the_markup() -> None:
    url = "https://b.example/s?a=1&b=%22x%22"
    made = stream_answer("wss://b.example/m", content_type="audio/x-mulaw;rate=8000", status_url=url)
    stream = ET.fromstring(made.body).find("Stream")  # noqa: S314 - our own document
    assert stream is not None
    assert stream.get("statusCallbackUrl") == url
    assert parse_qs(urlsplit(url).query) == {"a": ["1"], "b": ['"x"']}


def test_a_refusal_is_a_plain_verdict() -> None:
    assert verify(post(signed("wrong")), ORIGIN, KEYS) == Verdict(False, URL, "the signature does not match")
