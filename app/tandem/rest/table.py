"""The carriers' REST APIs: which of them these settings have an account for."""

from __future__ import annotations

from tandem.rest.port import CarrierApi
from tandem.settings import Settings


def open_apis(settings: Settings) -> dict[str, CarrierApi]:
    """One client a configured carrier, by the carrier's name. Who opens them closes them."""
    apis: dict[str, CarrierApi] = {}
    return apis
