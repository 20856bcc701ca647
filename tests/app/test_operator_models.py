"""What may be sent to `/calls`, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tandem.operator_models import InjectText, PlaceCall, SaySomething, SendKeys, TransferCall


def refused(model: type[BaseModel], **fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(fields)
    return str(caught.value)


def test_a_call_needs_only_whom_to_call() -> None:
    call = PlaceCall.model_validate({"to": " +15551234567 "})
    assert (call.to, call.from_, call.carrier, call.ring_seconds, call.machine) == (
        "+15551234567",
        None,
        None,
        30,
        None,
    )
    assert PlaceCall.model_validate({"to": "sip:desk@pbx.example.com", "from": "+15557654321"}).from_ == "+15557654321"


@pytest.mark.parametrize("to", ["5551234567", "+1", "sip:", "tel:+15551234567", "+1555123456x", ""])
def test_anything_else_is_no_destination(to: str) -> None:
    assert "E.164" in refused(PlaceCall, to=to)
    assert "E.164" in refused(TransferCall, to=to)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (PlaceCall, {"to": "+15551234567", "instuctions": "misspelt"}),
        (PlaceCall, {"to": "+15551234567", "carrier": "pigeon"}),
        (PlaceCall, {"to": "+15551234567", "ring_seconds": 4}),
        (PlaceCall, {"to": "+15551234567", "message": "for nobody"}),
        (PlaceCall, {"to": "+15551234567", "machine": "leave_message"}),
        (PlaceCall, {"to": "+15551234567", "machine": "hang_up", "message": "for nobody"}),
        (TransferCall, {"to": "+15551234567", "say": ""}),
        (SaySomething, {"text": "  "}),
        (SaySomething, {"text": "x" * 4_001}),
        (InjectText, {"text": "x", "respond": "perhaps"}),
    ],
)
def test_a_wish_that_can_not_be_granted_is_refused(model: type[BaseModel], fields: dict[str, Any]) -> None:
    assert refused(model, **fields)


def test_what_was_sent_is_not_in_the_refusal() -> None:
    """Numbers and words must not get into logs by way of an error."""
    assert "98765" not in refused(PlaceCall, to="98765")


@pytest.mark.parametrize(("digits", "good"), [("12ww#*AD", True), ("", False), ("12E", False), ("1" * 33, False)])
def test_keys(digits: str, good: bool) -> None:
    if good:
        assert SendKeys(digits=digits).digits == digits
    else:
        assert refused(SendKeys, digits=digits)
