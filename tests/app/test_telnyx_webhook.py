"""Telnyx's webhooks: who signed them, what they say, and the TeXML they are answered with. The vendor's own library is
the judge of signatures."""

from __future__ import annotations

import base64
import json
import random
import time
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from telnyx.lib.webhook_verification import WebhookVerificationError, verify_webhook_signature

from tandem.carriers.forms import parse_form
from tandem.carriers.telnyx import CODECS
from tandem.carriers.telnyx_webhook import (
    Event,
    client_state,
    connect_stream,
    fingerprint,
    nothing,
    parse_event,
    placed_state,
    public_key,
    read_state,
    reject_busy,
    verify,
    voice_request,
)
from tandem.simulators.telnyx_http import signed

SEED = bytes(range(32))
KEY_TEXT = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
KEY = base64.b64decode(KEY_TEXT)
AT = "1767323045"
NOW = float(AT)

V1 = (
    b'{"data":{"record_type":"event","event_type":"call.initiated","id":"0ccc7b54-4df3-4bca-a65a-3da1ecc777f0",'
    b'"occurred_at":"2026-01-02T03:04:05.000000Z","payload":{"call_control_id":"v3:example","direction":"incoming",'
    b'"from":"+15550002000","to":"+15550001000"}},"meta":{"attempt":1,'
    b'"delivered_to":"https://bridge.example.com/telnyx/events"}}'
)
V2 = b"AccountSid=b4a0c5d2&CallSid=v3%3Aexample&From=%2B15550002000&To=%2B15550001000"
VECTORS = {
    "V1": (V1, "pgKA3hwpgBZe2NLk/wfDLSXIYHq8rZq6N+HtzxabC1aYaAPapourOMfjzbX6VDHCnLDfLHm5HP9t8Fe0W8b7Dw=="),
    "V2": (V2, "uaTC3/rYdOrb9Vvcx3++JRpQzLNFb+ysvlY7XmeWNFT6v0R9gOzGPZ8bAT0YygKLcpmD3+4i8SKn/a+WF6xhBw=="),
    "V3": (b"", "PqxisfUvsDuK/j48TFbeu55+za4N75bpHJ/f5l9fA9GMiFsVASW+AzBtKO1mzWugi8wVGHPJSoRUekk27HbqCA=="),
}
BODY, SIGNATURE = VECTORS["V1"]


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VECTORS)
def test_the_test_vectors(name: str) -> None:
    body, signature = VECTORS[name]
    assert verify(body, signature, AT, KEY, NOW) == ""
    assert verify(body + b" ", signature, AT, KEY, NOW) == "the signature does not match"


def test_one_space_after_the_first_colon_is_another_body() -> None:
    assert verify(BODY.replace(b":", b": ", 1), SIGNATURE, AT, KEY, NOW) == "the signature does not match"


@pytest.mark.parametrize(
    ("clock", "passes"), [(0, True), (300, True), (300.9, True), (301, False), (-300, True), (-301, False)]
)
def test_the_window_is_five_minutes_both_ways(clock: float, passes: bool) -> None:
    assert (verify(BODY, SIGNATURE, AT, KEY, NOW + clock) == "") is passes


@given(st.binary(max_size=2000), st.integers(0, 10**12 - 1))
def test_what_the_key_signs_is_taken(body: bytes, at: int) -> None:
    headers = signed(body, SEED, at)
    assert verify(body, headers["Telnyx-Signature-Ed25519"], headers["Telnyx-Timestamp"], KEY, at) == ""


def sdk_takes(body: bytes, signature: str, timestamp: str, key: str = KEY_TEXT) -> bool:
    headers = {"telnyx-signature-ed25519": signature, "telnyx-timestamp": timestamp}
    try:
        verify_webhook_signature(body, headers, key)
    except (WebhookVerificationError, UnicodeDecodeError):
        return False
    return True


def test_the_vendors_library_takes_what_our_simulator_signs() -> None:
    for body, _ in VECTORS.values():
        headers = signed(body, SEED)
        assert sdk_takes(body, headers["Telnyx-Signature-Ed25519"], headers["Telnyx-Timestamp"])


def mutated(rng: random.Random) -> tuple[bytes, str, str, bytes]:
    """A genuine request and its key, with something changed in one of them."""
    body, signature, timestamp, key = BODY, SIGNATURE, AT, KEY
    match rng.randrange(8):
        case 0:
            at = rng.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]
        case 1:
            at = rng.randrange(len(body) + 1)
            body = body[:at] + bytes([rng.randrange(256)]) + body[at:]
        case 2:
            at = rng.randrange(len(body))
            body = body[:at] + body[at + 1 + rng.randrange(20) :]
        case 3:
            at = rng.randrange(len(signature))
            signature = signature[:at] + chr(rng.randrange(32, 127)) + signature[at + 1 :]
        case 4:
            raw = bytearray(base64.b64decode(signature))
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            signature = base64.b64encode(raw).decode()
        case 5:
            at = rng.randrange(len(timestamp))
            timestamp = timestamp[:at] + rng.choice("0123456789 +-.eE\u0663") + timestamp[at + 1 :]
        case 6:
            timestamp = rng.choice(["0" + AT, AT + " ", " " + AT, "+" + AT, AT + "|", AT[:-1], "", "1_767323045"])
        case _:
            at = rng.randrange(len(key))
            key = key[:at] + bytes([key[at] ^ 1 << rng.randrange(8)]) + key[at + 1 :]
    return body, signature, timestamp, key


def test_r29_ten_thousand_mutations_are_all_refused() -> None:
    rng = random.Random(29)
    refused = 0
    while refused < 10_000:
        body, signature, timestamp, key = mutated(rng)
        if (body, signature, timestamp, key) == (BODY, SIGNATURE, AT, KEY):
            continue  # the change changed nothing
        assert verify(body, signature, timestamp, key, NOW), (body, signature, timestamp)
        refused += 1


@pytest.mark.parametrize(
    ("signature", "timestamp", "why"),
    [
        ("", AT, "no signature"),
        (SIGNATURE, "", "no signature"),
        (SIGNATURE, "soon", "no number"),
        (SIGNATURE, "-" + AT, "no number"),
        (SIGNATURE, "1" * 13, "no number"),
        (SIGNATURE, "\u0661", "no number"),
        ("@@@", AT, "not base64"),
        ("\u00e9", AT, "not base64"),
        (SIGNATURE[:-4], AT, "64 bytes"),
        (SIGNATURE[:-3] + "x==", AT, "64 bytes"),
        (SIGNATURE + SIGNATURE, AT, ""),
        (SIGNATURE.replace("+", "-").replace("/", "_"), AT, "not base64"),
    ],
)
def test_what_is_no_signature(signature: str, timestamp: str, why: str) -> None:
    assert why in verify(BODY, signature, timestamp, KEY, NOW)
    assert verify(BODY, signature, timestamp, KEY, NOW)


def test_a_signature_has_one_spelling() -> None:
    """The last character before the padding has bits that decoding drops: a spelling that differs there is refused."""
    same = [SIGNATURE[:-3] + char + "==" for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"]
    spellings = [text for text in same if base64.b64decode(text) == base64.b64decode(SIGNATURE)]
    assert len(spellings) == 16
    assert [text for text in spellings if not verify(BODY, text, AT, KEY, NOW)] == [SIGNATURE]


@given(st.binary(max_size=50), st.text(max_size=100), st.text(max_size=15), st.binary(min_size=32, max_size=32))
def test_verification_never_raises(body: bytes, signature: str, timestamp: str, key: bytes) -> None:
    assert verify(body, signature, timestamp, key, NOW)


def test_verification_takes_well_under_a_millisecond() -> None:
    began = time.perf_counter()
    for _ in range(100):
        verify(BODY, SIGNATURE, AT, KEY, NOW)
    assert (time.perf_counter() - began) / 100 < 0.002


# --- keys -------------------------------------------------------------------------------------------------------------

DER = bytes.fromhex("302a300506032b6570032100") + KEY
PEM = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(DER).decode()}\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize(
    "text",
    [
        KEY_TEXT,
        f"  {KEY_TEXT}\n",
        KEY_TEXT.rstrip("="),
        base64.urlsafe_b64encode(KEY).decode(),
        base64.b64encode(DER).decode(),
        PEM,
        PEM.replace("\n", "\r\n"),
    ],
)
def test_a_public_key_in_any_form_that_is_handed_around(text: str) -> None:
    assert public_key(text) == KEY


@pytest.mark.parametrize(
    "text",
    ["", "key", "@@@@", KEY_TEXT[:-4], KEY_TEXT + "AAAA", base64.b64encode(b"x" * 44).decode(), KEY.hex(), "\u00e9"],
)
def test_what_is_no_public_key_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"base64|bytes"):
        public_key(text)


def test_the_vendors_key_is_read_as_the_vendor_reads_it() -> None:
    for seed in (bytes([n]) * 32 for n in range(20)):
        text = base64.b64encode(bytes(SigningKey(seed).verify_key)).decode()
        headers = signed(b"body", seed)
        signature, timestamp = headers["Telnyx-Signature-Ed25519"], headers["Telnyx-Timestamp"]
        assert sdk_takes(b"body", signature, timestamp, text)
        assert verify(b"body", signature, timestamp, public_key(text), float(timestamp)) == ""


# --- repeats ----------------------------------------------------------------------------------------------------------


def test_a_request_is_told_from_every_other() -> None:
    prints = {
        fingerprint(AT, SIGNATURE, BODY),
        fingerprint(AT, SIGNATURE, BODY + b" "),
        fingerprint(AT, SIGNATURE + "=", BODY),
        fingerprint(AT + "1", SIGNATURE, BODY),
        fingerprint(AT, SIGNATURE, BODY, "GET /telnyx/voice?CallSid=a"),
        fingerprint(AT, SIGNATURE, BODY, "GET /telnyx/voice?CallSid=b"),
    }
    assert len(prints) == 6
    assert fingerprint(AT, SIGNATURE, BODY) == fingerprint(AT, SIGNATURE, BODY)


# --- events -----------------------------------------------------------------------------------------------------------


def event(kind: str, **payload: object) -> bytes:
    data = {"record_type": "event", "event_type": kind, "id": "e1", "payload": {"call_control_id": "v3:x", **payload}}
    return json.dumps({"data": data, "meta": {"attempt": 1}}).encode()


def test_the_documented_event() -> None:
    assert parse_event(V1) == Event(
        kind="call.initiated",
        event_id="0ccc7b54-4df3-4bca-a65a-3da1ecc777f0",
        call_id="v3:example",
        incoming=True,
        caller="+15550002000",
        called="+15550001000",
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            event("call.initiated", direction="outgoing", client_state=placed_state("8f"), **{"from": "a", "to": "b"}),
            Event("call.initiated", "e1", "v3:x", session="8f", placed=True, caller="a", called="b"),
        ),
        (
            event("call.answered", client_state=client_state("8f"), state="answered"),
            Event("call.answered", "e1", "v3:x", session="8f"),
        ),
        (
            event("call.hangup", hangup_cause="user_busy", hangup_source="callee", call_quality_stats={"mos": "4"}),
            Event("call.hangup", "e1", "v3:x", cause="user_busy", source="callee"),
        ),
        (
            event("streaming.failed", failure_reason="connection_failed", stream_params={"stream_url": "wss://x"}),
            Event("streaming.failed", "e1", "v3:x", cause="connection_failed"),
        ),
        (
            event("call.machine.detection.ended", result="machine", client_state=None),
            Event("call.machine.detection.ended", "e1", "v3:x", cause="machine"),
        ),
        (event("call.dtmf.received", digit="5", to=["+1", "+2"]), Event("call.dtmf.received", "e1", "v3:x")),
        (event("call.answered", client_state="not base64!"), Event("call.answered", "e1", "v3:x")),
    ],
)
def test_what_events_say(body: bytes, expected: Event) -> None:
    assert parse_event(body) == expected


def test_numbers_of_people_do_not_print() -> None:
    assert "1555" not in repr(parse_event(V1))


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"data":1}', b'{"data":{"event_type":"x"}}', b'{"data":{"event_type":1,"payload":{}}}',
     b'{"data":{"event_type":"x","payload":{"call_control_id":5}}}', b"[" * 100_000, b"\xff",
     b'{"data":{"event_type":"x","payload":' + b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_event_of_a_call_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_event(body)


@given(st.text())
def test_client_state_comes_back(text: str) -> None:
    assert read_state(client_state(text)) == text


@given(st.text())
def test_any_client_state_can_be_read(state: str) -> None:
    assert isinstance(read_state(state), str)


# --- TeXML ------------------------------------------------------------------------------------------------------------


def parsed(body: bytes) -> ET.Element:
    return ET.fromstring(body)  # noqa: S314  # our own answer


def test_the_form_of_a_texml_call() -> None:
    call = voice_request(parse_form(V2 + b"&CallStatus=ringing"))
    assert (call.call_id, call.account_id, call.status) == ("v3:example", "b4a0c5d2", "ringing")
    assert (call.caller, call.called) == ("+15550002000", "+15550001000")
    assert "1555" not in repr(call)


@pytest.mark.parametrize("call_sid", [b"", b"+", b"a%20b", b"%0a", b"a" * 513, "é".encode()])
def test_a_call_without_a_usable_id_is_told(call_sid: bytes) -> None:
    with pytest.raises(ValueError, match=r"CallSid|ASCII"):
        voice_request(parse_form(b"CallSid=" + call_sid))


def test_the_document_that_opens_a_stream() -> None:
    answer = connect_stream(
        "wss://bridge.example.com/telnyx/media/TOKEN",
        CODECS["PCMU"],
        status_callback="https://bridge.example.com/telnyx/status",
        parameters={"session": "8f14e45f"},
    )
    assert answer.content_type.startswith("text/xml")
    connect, hangup = parsed(answer.body)
    assert (connect.tag, hangup.tag) == ("Connect", "Hangup")
    (stream,) = connect
    assert stream.attrib == {
        "url": "wss://bridge.example.com/telnyx/media/TOKEN",
        "track": "inbound_track",
        "codec": "PCMU",
        "bidirectionalMode": "rtp",
        "bidirectionalCodec": "PCMU",
        "bidirectionalSamplingRate": "8000",
        "statusCallback": "https://bridge.example.com/telnyx/status",
        "statusCallbackMethod": "POST",
        "enableReconnect": "false",
    }
    assert [(each.tag, dict(each.attrib)) for each in stream] == [
        ("Parameter", {"name": "session", "value": "8f14e45f"})
    ]


def test_a_stream_needs_a_websocket() -> None:
    with pytest.raises(ValueError, match="wss"):
        connect_stream("https://x", CODECS["PCMU"], status_callback="", parameters={})


def test_refusal_and_nothing() -> None:
    (reject,) = parsed(reject_busy().body)
    assert (reject.tag, reject.attrib) == ("Reject", {"reason": "busy"})
    assert len(parsed(nothing().body)) == 0


@given(st.text())
def test_any_text_makes_well_formed_xml(text: str) -> None:
    answer = connect_stream("ws://x/" + text, CODECS["PCMA"], status_callback=text, parameters={"p": text})
    parsed(answer.body)
