"""`/healthz` and `/readyz` of the web process: for whoever starts it anew, and whoever sends people to it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from ..telemetry.readiness import Readiness

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def alive() -> JSONResponse:
    """The process answers."""
    return JSONResponse({"alive": True})


@router.get("/readyz")
def ready(request: Request) -> JSONResponse:
    """The process can do its work: 200, else 503."""
    readiness: Readiness = request.app.state.readiness
    is_ready, checks = readiness.ask()
    return JSONResponse({"ready": is_ready, "checks": checks}, 200 if is_ready else 503)
