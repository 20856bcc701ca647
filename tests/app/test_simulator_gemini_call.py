"""Whole telephone calls with Gemini for an agent: from the carrier's webhook to the last word."""

from __future__ import annotations

import pytest
from servers import tandem

from tandem.simulators.gemini import GeminiSimulator
from tandem.simulators.phone import At
from tandem.simulators.twilio import place_call


@pytest.mark.parametrize("model", ["gemini-3.8-live", "gemini-2.5-flash-native-audio-preview-12-2025"])
async def test_a_caller_is_greeted(model: str) -> None:
    async with (
        GeminiSimulator(voice="tone:440", seconds=0.6) as simulator,
        tandem(
            {},
            PROVIDERS="gemini",
            GEMINI_API_KEY="planted-key",
            GEMINI_MODEL=model,
            GEMINI_LIVE_URL=simulator.url,
            INSTRUCTIONS="Be kind.",
            GREETING="Good morning",
            VOICE="kore",
            TEMPERATURE="0.7",
        ) as server,
    ):
        report = await place_call(server.plan(hang_up=At(1500), seconds=10))
        assert report.went_well, report.problems
        assert report.heard_ms == pytest.approx(600, abs=20)
        session = await simulator.session(1)
        await session.closed()
        assert session.record.heard_ms > 1000
        setup = session.record.received[0]["setup"]
        assert setup["systemInstruction"]["parts"][0]["text"] == "Be kind."
        assert setup["generationConfig"]["temperature"] == 0.7
        assert session.headers["x-goog-api-key"] == "planted-key"
        assert session.query == {}
