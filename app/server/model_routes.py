"""Models over HTTP: what there is, what is loaded, what fits; load another, or cancel that."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.engines.engine_slot import EngineKey
from app.engines.model_pool import ModelPool
from app.messages import Drafts, Models, ModelSize, ServerFound
from app.runs.limits import Limits
from app.runs.visitors import owner_of
from app.server.bodies import JsonResponse, json_object
from app.server.paths import PREFIX
from core.config import RunConfig
from core.errors import InvalidSettingError, SpecDecodesError
from core.modes.registry import mode_names
from core.modes.server import MODE as SERVER_MODE
from core.modes.server import is_address

_MAX_NAME = 400


def model_routes(pool: ModelPool, limits: Limits) -> list[BaseRoute]:
    """Routes of the models tab."""

    async def models(request: Request) -> Response:
        return JsonResponse(await run_in_threadpool(describe_models, pool, limits))

    async def drafts(request: Request) -> Response:
        return JsonResponse(await run_in_threadpool(describe_drafts, pool.target, limits))

    async def size(request: Request) -> Response:
        target = request.query_params.get("target", "").strip()
        if not target or len(target) > _MAX_NAME:
            return PlainTextResponse("The name is empty or too long; give a model's name.", 400)
        try:
            limits.check_model(target)
            describe = describe_server if is_address(target) else describe_size
            return JsonResponse(await run_in_threadpool(describe, target))
        except SpecDecodesError as error:
            return PlainTextResponse(str(error), 400)

    async def load(request: Request) -> Response:
        try:
            values = await json_object(request)
            target, dtype = values.get("target"), values.get("dtype") or None
            if not isinstance(target, str) or not target.strip() or len(target) > _MAX_NAME:
                raise InvalidSettingError("The name is empty or too long; give a model's name.")
            mode = SERVER_MODE if is_address(target.strip()) else "naive"
            config = RunConfig(target=target.strip(), dtype=dtype, mode=mode)
            limits.check_model(config.target)
            owner = owner_of(request)
            limits.check_queue(pool.fair_queue.length, pool.fair_queue.length_of(owner))
        except SpecDecodesError as error:
            return PlainTextResponse(str(error), 400)
        pool.preload(EngineKey(config.target, config.dtype), owner)
        return JsonResponse({})

    async def cancel(request: Request) -> Response:
        pool.cancel()
        return JsonResponse({})

    return [
        Route(f"/{PREFIX}/models.json", models),
        Route(f"/{PREFIX}/models/size.json", size),
        Route(f"/{PREFIX}/models/drafts.json", drafts),
        Route(f"/{PREFIX}/models/load", load, methods=["POST"]),
        Route(f"/{PREFIX}/models/cancel", cancel, methods=["POST"]),
    ]


def describe_size(target: str) -> ModelSize:
    """What a model needs in memory by number format, before anything of it is loaded."""
    import psutil

    from core.models.size import BYTES_PER_WEIGHT, model_size

    size = model_size(target)
    return {
        "num_parameters": size.num_parameters,
        "fetched_bytes": size.fetched_bytes,
        "needed_bytes": {
            name: int(size.num_parameters * factor) for name, factor in BYTES_PER_WEIGHT.items()
        },
        "free_bytes": psutil.virtual_memory().available,
    }


def describe_server(target: str) -> ServerFound:
    """What a server is found to be, in words."""
    from core.attached.engine import AttachedEngine

    server = AttachedEngine(target).server
    drafts = {
        True: "it drafts",
        False: "it drafts nothing",
        None: "it does not say whether it drafts",
    }
    name = f"{server.kind.name} {server.version}".strip()
    return {"server": f"{name} with {server.model}; {drafts[server.speculates]}"}


def describe_drafts(target: str | None, limits: Limits) -> Drafts:
    """Draft models of this machine that visitors may name and that fit a target; none where its own
    files cannot be read any more."""
    from core.loading.fitting_drafts import fitting_drafts

    if target is None or is_address(target):
        return {"target": target, "drafts": []}
    try:
        fitting = fitting_drafts(target)
    except SpecDecodesError:
        fitting = []
    found = [draft for draft in fitting if not draft.name or limits.has(draft.name)]
    return {
        "target": target,
        "drafts": [{"name": draft.name, "num_parameters": draft.num_parameters} for draft in found],
    }


def describe_models(pool: ModelPool, limits: Limits) -> Models:
    """The catalogue, what was fetched of the hub, free memory, the loaded target, and which modes it
    can run."""
    import psutil

    from core.models.catalogue import CATALOGUE
    from core.models.here import models_here

    memory = psutil.virtual_memory()
    return {
        "catalogue": [
            {"name": name, "note": model.note, **describe_size(name)}
            for name, model in CATALOGUE.items()
        ],
        "fetched": [
            {"name": model.name, "num_parameters": model.num_parameters}
            for model in models_here()
            if model.name not in CATALOGUE and limits.has(model.name)
        ],
        "free_bytes": memory.available,
        "total_bytes": memory.total,
        "target": pool.target,
        "modes": [
            {"mode": mode, "reason": pool.unavailable_reason(mode, None)} for mode in mode_names()
        ],
    }
