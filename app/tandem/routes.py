"""The doors for operators who watch: health, readiness and metrics. Whoever only wants the status may send HEAD."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from tandem import docs_page, metrics
from tandem.operator_routes import Board

router = APIRouter()


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", tags=["operation"])
async def healthz(request: Request) -> dict[str, str | tuple[str, ...]]:
    """The process is alive and its event loop turns; and whose calls it takes."""
    return {"status": "ok", "service": "tandem", "carriers": request.app.state.settings.carriers}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", tags=["operation"])
async def readyz(request: Request, board: Board) -> JSONResponse:
    """Whether a call that came now would be taken; 503 with the reasons when not."""
    settings = request.app.state.settings
    refusal = board.refuse()
    notes = [*settings.warnings]
    if not settings.carriers:
        notes.append("no carrier is configured: set the variables of one, such as TWILIO_ACCOUNT_SID and its token")
    elif settings.demo:
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


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", tags=["operation"])
async def metrics_text(request: Request) -> Response:
    """Prometheus text."""
    return Response(request.app.state.metrics.render(), media_type=metrics.CONTENT_TYPE)


async def docs(request: Request) -> HTMLResponse:
    """What there is to ask for."""
    return HTMLResponse(docs_page.page(request.app.openapi()))
