"""The doors for operators: health, readiness, metrics, and the calls that are up."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tandem import metrics
from tandem.switchboard import Switchboard

router = APIRouter()
_bearer = HTTPBearer(auto_error=False, description="The API_TOKEN of this server.")


def switchboard_of(request: Request) -> Switchboard:
    board: Switchboard = request.app.state.switchboard
    return board


def authorised(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> None:
    """Only who knows `API_TOKEN` may look at calls."""
    wanted = request.app.state.settings.api_token.get_secret_value().encode()
    if given is None or not secrets.compare_digest(given.credentials.encode(), wanted):
        raise HTTPException(401, "send the API_TOKEN as a bearer token", {"WWW-Authenticate": "Bearer"})


Board = Annotated[Switchboard, Depends(switchboard_of)]


@router.get("/healthz", tags=["operation"])
async def healthz() -> dict[str, str]:
    """The process is alive and its event loop turns."""
    return {"status": "ok", "service": "tandem"}


@router.get("/readyz", tags=["operation"])
async def readyz(request: Request, board: Board) -> JSONResponse:
    """Whether a call that came now would be taken; 503 with the reasons when not."""
    settings = request.app.state.settings
    refusal = board.refuse()
    notes = [*settings.warnings]
    if settings.twilio is None:
        notes.append("no carrier is configured: set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN")
    elif settings.twilio.demo:
        notes.append("no keys are set: the embedded echo answers, and only calls signed by the demo account")
    return JSONResponse(
        {
            "ready": refusal is None,
            "reasons": [refusal.value] if refusal is not None else [],
            "calls": len(board.live),
            "max_calls": settings.max_calls,
            "providers": [choice.name for choice in settings.choices],
            "notes": notes,
        },
        200 if refusal is None else 503,
    )


@router.get("/metrics", tags=["operation"])
async def metrics_text(request: Request) -> Response:
    """Prometheus text."""
    return Response(request.app.state.metrics.render(), media_type=metrics.CONTENT_TYPE)


@router.get("/calls", tags=["calls"], dependencies=[Depends(authorised)])
async def calls(board: Board) -> list[dict[str, Any]]:
    """Live calls and the last ended ones."""
    return board.records()


@router.get("/calls/{call_id}", tags=["calls"], dependencies=[Depends(authorised)])
async def call(call_id: str, board: Board) -> dict[str, Any]:
    """One call with its transcript, as the caller heard it."""
    record = board.record(call_id)
    if record is None:
        raise HTTPException(404, "no such call, or it ended long ago")
    return record
