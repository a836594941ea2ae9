"""The health check: `GET /health` on STREAMS_WEB_PORT, and nothing else there."""

from __future__ import annotations

from typing import Any

from faust.web.drivers.aiohttp import Web

from streams.worker.assignment import Assignment


class HealthServer(Web):
    """Faust's web server without the pages that it brings: its start page says 200 whatever /health says."""

    def _enabled_blueprints(self) -> list[Any]:
        return []


def add_health(app: Any, assignment: Assignment) -> None:
    """Serve /health: 200 while the worker runs, 503 while it starts or stops or once it has failed."""

    async def health(view: Any, request: Any) -> Any:
        well = app.started and not app.should_stop and not app.crashed
        facts = {"well": well, "partitions": assignment.assigned, "pending": assignment.pending}
        return view.json(facts, status=200 if well else 503)

    app.page("/health")(health)
