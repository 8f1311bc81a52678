"""Models over HTTP: what there is, what is loaded, what fits; load another, or cancel that."""

import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.bodies import json_object
from app.engine_seat import EngineKey
from app.limits import Limits
from app.model_pool import ModelPool
from app.places import PREFIX
from core.config import MODES, RunConfig
from core.errors import InvalidSettingError, SpecDecodesError

_MAX_NAME = 400


def model_routes(pool: ModelPool, limits: Limits) -> list[BaseRoute]:
    """Routes of the models tab."""

    async def models(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(describe_models, pool))

    async def load(request: Request) -> Response:
        try:
            values = await json_object(request)
            target, dtype = values.get("target"), values.get("dtype") or None
            if not isinstance(target, str) or not target.strip() or len(target) > _MAX_NAME:
                raise InvalidSettingError("The name is empty or too long; give a model's name.")
            config = RunConfig(target=target.strip(), dtype=dtype)
            limits.check_model(config.target)
            limits.check_queue(pool.turnstile.length)
        except SpecDecodesError as error:
            return PlainTextResponse(str(error), 400)
        pool.preload(EngineKey(config.target, config.dtype))
        return JSONResponse({})

    async def cancel(request: Request) -> Response:
        pool.cancel()
        return JSONResponse({})

    return [
        Route(f"/{PREFIX}/models.json", models),
        Route(f"/{PREFIX}/models/load", load, methods=["POST"]),
        Route(f"/{PREFIX}/models/cancel", cancel, methods=["POST"]),
    ]


def describe_models(pool: ModelPool) -> dict[str, Any]:
    """The catalogue, free memory, the loaded target, and which modes it can run."""
    import psutil

    from core.models.catalogue import CATALOGUE

    memory = psutil.virtual_memory()
    return {
        "catalogue": [
            {
                "name": name,
                "note": model.note,
                "fetched_bytes": model.wheel_bytes,
                "num_parameters": _parameters(name),
            }
            for name, model in CATALOGUE.items()
        ],
        "free_bytes": memory.available,
        "total_bytes": memory.total,
        "target": pool.target,
        "modes": [{"mode": mode, "reason": pool.unavailable_reason(mode, None)} for mode in MODES],
    }


def _parameters(name: str) -> int | None:
    """How many weights a model's name says that it has, as in "135m" or "1.5B"."""
    found = re.search(r"(\d+(?:\.\d+)?)([mb])\b", name.lower())
    return None if found is None else int(float(found[1]) * {"m": 1e6, "b": 1e9}[found[2]])
