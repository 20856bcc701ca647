"""The simulated Azure resource: its door, and OpenAI's own client behind it."""

from __future__ import annotations

import base64

from openai import AsyncAzureOpenAI, AsyncOpenAI
from realtime_client import dial, validate
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tandem.simulators.azure import PATH, AzureSimulator


async def status_of(url: str, **headers: str) -> int | None:
    """HTTP status of a refused handshake; None when it was let in."""
    try:
        async with connect(url, additional_headers={name.replace("_", "-"): value for name, value in headers.items()}):
            return None
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_the_vendors_own_client_with_a_key_or_with_a_token() -> None:
    async with AzureSimulator(script=["Good day."], key="right", deployment="phone") as simulator:
        async with (
            AsyncOpenAI(api_key="right", websocket_base_url=simulator.base_url) as client,
            client.realtime.connect(model="phone") as connection,
        ):
            await connection.session.update(session={"type": "realtime", "instructions": "Be kind."})
            await connection.response.create()
            transcript, audio = "", b""
            async for event in connection:
                if event.type == "response.output_audio_transcript.delta":
                    transcript += event.delta
                elif event.type == "response.output_audio.delta":
                    audio += base64.b64decode(event.delta)
                elif event.type == "response.done":
                    break
        session = await simulator.session(1)
        for sent in session.record.events():
            validate(sent)
    assert transcript == "Good day."
    assert audio
    assert session.query == {"model": "phone"}


async def test_the_client_for_azure_still_asks_for_the_interface_before_this_one() -> None:
    async with AzureSimulator() as simulator:
        client = AsyncAzureOpenAI(api_key="k", api_version="2025-04-01-preview", azure_endpoint=simulator.endpoint)
        url, headers = await client._configure_realtime("phone", {})
        await client.close()
        old = f"{simulator.url.removesuffix(PATH)}/openai/realtime?{url.query.decode()}"
        assert await status_of(old, **headers) == 404
        assert await status_of(f"{simulator.url}?{url.query.decode()}", **headers) == 400
    assert headers == {"api-key": "k"}


async def test_who_is_let_in() -> None:
    async with AzureSimulator(key="right", deployment="phone") as simulator:
        url = f"{simulator.url}?model=phone"
        assert await status_of(url, api_key="right") is None
        assert await status_of(url, Authorization="Bearer right") is None
        assert await status_of(url, api_key="wrong") == 401
        assert await status_of(url, Authorization="Bearer wrong") == 401
        assert await status_of(url) == 401
        assert await status_of(f"{simulator.url}?model=fax", api_key="right") == 404
        assert await status_of(simulator.url, api_key="right") == 400
        assert await status_of(f"{url}&api-version=1", api_key="right") == 400
        assert await status_of(url.replace("/v1", ""), api_key="right") == 404
        assert simulator.endpoint.startswith("http://127.0.0.1:")


async def test_any_deployment_and_any_key_unless_it_is_said() -> None:
    async with AzureSimulator() as simulator, dial(simulator.url, "model=anything") as client:
        updated = await client.set_up()
        assert updated["model"] == "anything"
