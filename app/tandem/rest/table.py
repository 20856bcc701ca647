"""The carriers' REST APIs: which of them these settings have an account for."""

from __future__ import annotations

from tandem.carriers.telnyx import CODECS
from tandem.rest.plivo import PlivoApi
from tandem.rest.port import CarrierApi
from tandem.rest.telnyx import TelnyxApi
from tandem.rest.twilio import TwilioApi
from tandem.settings import Settings


def open_apis(settings: Settings) -> dict[str, CarrierApi]:
    """One client a configured carrier, by the carrier's name. Who opens them closes them."""
    apis: dict[str, CarrierApi] = {}
    if (twilio := settings.twilio) is not None and not twilio.demo:
        apis["twilio"] = TwilioApi(twilio.api_url, twilio.account_sid, twilio.auth_token)
    if (account := settings.telnyx) is not None:
        apis["telnyx"] = TelnyxApi(
            account.api_url,
            account.api_key,
            codec=CODECS[account.codec],
            events_url=f"{settings.own_origin}/telnyx/events",
            keeps_calls=settings.own_origin != settings.origin,
            connection_id=account.connection_id,
        )
    if (plivo := settings.plivo) is not None:
        apis["plivo"] = PlivoApi(
            plivo.api_url, plivo.auth_id, plivo.auth_token, voice_url=f"{settings.own_origin}/plivo/voice"
        )
    return apis
