"""Telnyx's REST API for calls of TeXML applications: they are given another document."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from tandem.carriers.telnyx_webhook import dial, play_keys
from tandem.carriers.xml_answer import XmlAnswer
from tandem.rest.http import CarrierHttp
from tandem.rest.port import CarrierApiError, OutboundCall, Transfer


class TexmlApi:
    """The account whose TeXML application has the call. Implements `CarrierApi`, but for placing calls: Call Control
    does that. `http` is somebody else's to close."""

    def __init__(self, http: CarrierHttp, account_sid: str) -> None:
        self._http = http
        self._account = account_sid

    async def place(self, call: OutboundCall) -> str:
        """Refused."""
        raise CarrierApiError("telnyx places calls by Call Control")

    async def hang_up(self, call_id: str) -> None:
        """End the call; one that has ended already is no error."""
        try:
            await self._update(call_id, {"Status": "completed"})
        except CarrierApiError as error:
            if error.status != 404:
                raise

    async def transfer(self, call_id: str, transfer: Transfer) -> None:
        """Begin to move the call; see `CarrierApi`. A document that is not taken leaves the stream as it is."""
        await self._obey(
            call_id,
            dial(
                transfer.to,
                caller_id=transfer.caller_id,
                ring_seconds=transfer.ring_seconds,
                after_url=transfer.after_url,
            ),
        )

    async def send_dtmf(self, call_id: str, digits: str, return_url: str) -> None:
        """Play keys to the caller, which takes the call out of its stream."""
        await self._obey(call_id, play_keys(digits, return_url=return_url))

    async def close(self) -> None:
        """Nothing of its own to let go of."""

    async def _obey(self, call_id: str, document: XmlAnswer) -> None:
        await self._update(call_id, {"Texml": document.body.decode()})

    async def _update(self, call_id: str, changes: Mapping[str, str]) -> None:
        """Twice is once: the same document, or the same end."""
        path = f"/texml/Accounts/{quote(self._account, safe='')}/Calls/{quote(call_id, safe='')}"
        await self._http.call("POST", path, json=changes, again=True)
