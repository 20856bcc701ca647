"""Who can place a simulated call, and what it takes."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from tandem import demo
from tandem.callers import CALLERS
from tandem.place import Wish, place
from tandem.screen import Screen
from tandem.serve import listen
from tandem.settings import load
from tandem.simulators.telnyx_http import DEMO_SEED, public_key

TELNYX = {"TELNYX_API_KEY": "KEY-simulated", "TELNYX_PUBLIC_KEY": public_key(DEMO_SEED)}
PLIVO = {"PLIVO_AUTH_ID": "MA" + "0" * 18, "PLIVO_AUTH_TOKEN": "planted-token"}


@pytest.mark.parametrize(
    ("carrier", "env", "said"),
    [
        ("telnyx", {}, "TELNYX_PUBLIC_KEY="),
        ("telnyx", TELNYX, "TELNYX_API_URL"),
        ("telnyx", {**TELNYX, "TELNYX_PUBLIC_KEY": public_key(bytes(32))}, "only Telnyx can sign"),
        ("plivo", {}, "PLIVO_AUTH_ID"),
        ("twilio", {"OPENAI_API_KEY": "planted-key"}, "TWILIO_ACCOUNT_SID"),
    ],
)
def test_what_is_missing_is_told(carrier: str, env: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CALLERS[carrier].caller(load(env, None))


@pytest.mark.parametrize("path", ["", "/telnyx/voice"])
def test_a_telnyx_call_against_a_server_of_its_own(path: str, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    env = {**TELNYX, "TELNYX_API_URL": f"http://127.0.0.1:{port}", "API_TOKEN": "the-token"}
    out = io.StringIO()
    with demo.server(tmp_path, "the-token", **env) as child:
        wish = Wish.of(load(env, None), child.origin + path, None, None, 1.5, "telnyx")

        async def ring() -> int:
            await child.ready()
            return await place(Screen(out, out), load(env, None), wish)

        assert asyncio.run(ring()) == 0, out.getvalue()
    assert "the call went well" in out.getvalue()


def test_a_telnyx_call_whose_api_somebody_else_has_says_so() -> None:
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        env = {**TELNYX, "TELNYX_API_URL": f"http://127.0.0.1:{taken.getsockname()[1]}"}
        wish = Wish.of(load(env, None), "http://127.0.0.1:1", None, None, 1.0, "telnyx")
        out = io.StringIO()
        assert asyncio.run(place(Screen(out, out), load(env, None), wish)) == 1
    assert "is taken" in out.getvalue()
    assert "carrier-rest" in out.getvalue()


def test_a_plivo_call_against_a_server_of_its_own(tmp_path: Path) -> None:
    env = {**PLIVO, "API_TOKEN": "the-token"}
    out = io.StringIO()
    with demo.server(tmp_path, "the-token", **env) as child:
        wish = Wish.of(load(env, None), child.origin, None, None, 1.5, "plivo")

        async def ring() -> int:
            await child.ready()
            return await place(Screen(out, out), load(env, None), wish)

        assert asyncio.run(ring()) == 0, out.getvalue()
    assert "the call went well" in out.getvalue()
