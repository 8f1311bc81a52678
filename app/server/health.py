"""For those who watch the server: whether it lives, and numbers in Prometheus' text format."""

from collections.abc import Iterable, Iterator

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.runs.handlers import Handlers
from app.server.bodies import JsonResponse
from core.trace.stats import RunStats

_PHASES = ("prefill", "draft", "verify", "accept", "commit", "other")


def health_routes(handlers: Handlers, *, with_metrics: bool) -> list[BaseRoute]:
    """`/healthz`, and `/metrics` on demand."""

    async def health(request: Request) -> Response:
        status, is_healthy = handlers.pool.status, handlers.pool.is_healthy
        values = {
            "status": "ok" if is_healthy else "failed",
            "model": status.text,
            "queue": handlers.pool.fair_queue.length,
        }
        return JsonResponse(values, 200 if is_healthy else 503)

    async def metrics(request: Request) -> Response:
        return PlainTextResponse("\n".join(_lines(handlers)) + "\n")

    routes: list[BaseRoute] = [Route("/healthz", health)]
    return [*routes, Route("/metrics", metrics)] if with_metrics else routes


def _lines(handlers: Handlers) -> Iterator[str]:
    num_runs, totals = handlers.totals.read()
    queue = handlers.pool.fair_queue.length
    yield from _metric("queue_length", "gauge", "Runs that wait or run.", [("", queue)])
    yield from _metric("runs_total", "counter", "Ended runs.", [("", num_runs)])
    yield from _counters(totals)
    seconds = [(f'{{phase="{phase}"}}', getattr(totals, f"{phase}_s")) for phase in _PHASES]
    yield from _metric("phase_seconds_total", "counter", "Time by phase of decoding.", seconds)
    told = {
        "first_text_seconds": "From the start of a run to its first text.",
        "text_pause_seconds": "Between a text and the next one of the same answer.",
        "text_burst_tokens": "Tokens that reached the reader at once.",
    }
    for (name, text), histogram in zip(told.items(), handlers.totals.reading(), strict=True):
        yield from _metric(name, "histogram", text, histogram.values())


def _counters(totals: RunStats) -> Iterator[str]:
    """Tau and the acceptance rate are quotients of these."""
    told = {
        "tokens": "Tokens emitted.",
        "steps": "Steps of verification.",
        "drafted": "Draft tokens proposed.",
        "tested": "Draft tokens that a verification judged.",
        "accepted": "Draft tokens accepted.",
    }
    for name, text in told.items():
        count = getattr(totals, f"num_{name}")
        yield from _metric(f"{name}_total", "counter", text, [("", count)])


def _metric(name: str, kind: str, text: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    """The lines of a metric; `values` are what stands behind its name, and a number."""
    yield f"# HELP specdecodes_{name} {text}"
    yield f"# TYPE specdecodes_{name} {kind}"
    for label, value in values:
        yield f"specdecodes_{name}{label} {value}"
