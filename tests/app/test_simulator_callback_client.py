"""The HTTP client of simulated carriers."""

from __future__ import annotations

from tandem.simulators import callback_client
from tandem.simulators.api_server import ApiAnswer, RestServer


async def test_a_connection_that_has_rested_is_not_used_again() -> None:
    """A server of ours closes it after five seconds, and may do so just when the next question is on its way."""
    assert callback_client.REUSED_SECONDS < 5
    async with (
        RestServer(lambda request: ApiAnswer(200, {"agent": request.headers["user-agent"]})) as server,
        callback_client.callback_client(5.0, "a-carrier") as http,
    ):
        assert (await http.get(server.url)).json() == {"agent": "a-carrier"}
