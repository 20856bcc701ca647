"""Which carriers' APIs a server can reach."""

from __future__ import annotations

from tandem.rest.table import open_apis
from tandem.rest.telnyx import TelnyxApi
from tandem.settings import load
from tandem.simulators.telnyx_http import DEMO_SEED, public_key

TELNYX = {
    "TELNYX_API_KEY": "planted-key",
    "TELNYX_PUBLIC_KEY": public_key(DEMO_SEED),
    "TELNYX_API_URL": "http://[::1]:1",
}


async def test_telnyx_has_one_when_it_is_configured() -> None:
    assert "telnyx" not in open_apis(load({}, None))
    apis = open_apis(load(TELNYX, None))
    assert isinstance(apis["telnyx"], TelnyxApi)
    for api in apis.values():
        await api.close()
