"""`tandem call` against a server of its own."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from tandem import demo
from tandem.place import Wish, place
from tandem.screen import Screen
from tandem.settings import load
from tandem_codecs.format import MULAW_8K
from tandem_codecs.wav import StereoWriter, read_wav

SID = "AC" + "1a" * 16


def call(child: demo.Child, url: str, seconds: str = "1", **env: str) -> tuple[int, str]:
    settings = load(env, None)
    out = io.StringIO()
    wish = Wish.of(settings, url, None, None, float(seconds))

    async def ring() -> int:
        await child.ready()
        return await place(Screen(out, out), settings, wish)

    return asyncio.run(ring()), out.getvalue()


def test_a_call_is_placed_whatever_name_the_server_has(tmp_path: Path) -> None:
    with demo.server(tmp_path, "the-token") as child:
        here = f"http://127.0.0.1:{child.port}"
        for url in (child.origin, here, f"127.0.0.1:{child.port}", f"{here}/twilio/voice"):
            status, text = call(child, url, API_TOKEN="the-token")
            assert status == 0, text
            assert "Transcript (as heard)\n" in text
            assert "the call went well" in text
        status, text = call(child, here)
        assert status == 0
        assert "no transcript: set API_TOKEN to the server's" in text


def test_the_public_url_of_the_configuration_is_signed(tmp_path: Path) -> None:
    public = "https://voice.example.com"
    account = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": "planted"}
    with demo.server(tmp_path, "the-token", PUBLIC_URL=public, **account) as child:
        status, text = call(child, child.origin, PUBLIC_URL=public, **account)
        assert status == 0, text
        status, text = call(child, child.origin, PUBLIC_URL=public, **account | {"TWILIO_AUTH_TOKEN": "another"})
        assert status == 1
        assert "refused: TWILIO_AUTH_TOKEN or PUBLIC_URL" in text
        status, text = call(child, child.origin)
        assert status == 1
        assert "refused: the server has keys of its own" in text


def test_a_file_is_played_and_the_call_recorded(tmp_path: Path) -> None:
    wav, out = tmp_path / "in.wav", tmp_path / "out.wav"
    with StereoWriter(wav, 8000) as writer:
        writer.write("left", 0, b"\x00\x10" * 8000)
    with demo.server(tmp_path, "the-token") as child:
        settings = load({"API_TOKEN": "the-token"}, None)
        wish = Wish.of(settings, child.origin, wav, out, 1.0)
        assert isinstance(wish.audio, bytes)
        assert MULAW_8K.milliseconds(len(wish.audio)) == 1000
        screen = Screen(io.StringIO(), io.StringIO())

        async def ring() -> int:
            await child.ready()
            return await place(screen, settings, wish)

        assert asyncio.run(ring()) == 0
    assert MULAW_8K.milliseconds(len(read_wav(out, MULAW_8K))) == pytest.approx(1000, abs=100)


def test_the_default_is_the_server_of_this_configuration() -> None:
    wish = Wish.of(load({"PORT": "8123", "HOST": "0.0.0.0"}, None), "", None, None, 1.0)  # noqa: S104  # read only
    assert (wish.origin, wish.path) == ("http://localhost:8123", "/twilio/voice")


def test_a_call_in_which_nobody_answered_did_not_go_well(tmp_path: Path) -> None:
    account = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": "planted"}
    with demo.reserved_port() as nobody:
        nowhere = {
            "PROVIDERS": "openai",
            "OPENAI_API_KEY": "planted-key",
            "OPENAI_REALTIME_URL": f"ws://127.0.0.1:{nobody}/v1/realtime",
        }
        with demo.server(tmp_path, "the-token", **account, **nowhere) as child:
            status, text = call(child, child.origin, seconds="30", API_TOKEN="the-token", **account)
    assert status == 1
    assert "the call did not go well (providers_failed: no provider took the session" in text
