"""An interface that programs made for OpenAI's speak: models, completions and chats, in streams too."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from app.api.asked import ApiOptions, AskedRuns, asked_runs
from app.api.bodies import ChatForm, CompletionForm, Form, Head, counts
from app.api.choices import Failure, Piece, usage
from app.api.fields import ChatAsked, CompletionAsked, FieldError, StreamOptions, read_fields
from app.api.following import Followed
from app.runs.handlers import Handlers
from app.runs.run import Run
from app.runs.visitors import owner_of
from app.server.accounts import Accounts, Login
from app.server.bodies import BodyLimit, JsonResponse, json_object
from app.server.refusals import API_PATH, api_refusal, error_body
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.models.catalogue import CATALOGUE
from core.modes.share_sd import wants_offload
from core.runtime.strict_json import dumps

_log = logging.getLogger(__name__)

_END = "data: [DONE]\n\n"
# What breaks in the engine is the server's fault; these are whoever's asked.
_REFUSALS = {
    "InvalidSettingError": 400,
    "DrafterUnavailableError": 400,
    "ModelUnavailableError": 404,
}
_OWNER = "specdecodes"


def api_routes(
    handlers: Handlers, options: ApiOptions, accounts: Accounts | None = None
) -> list[BaseRoute]:
    """Routes under `/v1/`; with `accounts` a name and its password are the API key."""
    started_s = int(time.time())

    async def models(request: Request) -> Response:
        data = [_model(name, started_s) for name in _model_names(handlers, options)]
        return JsonResponse({"object": "list", "data": data})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _model_names(handlers, options):
            return api_refusal(f"There is no model {shown(name)}; ask for the list.", 404, "model")
        return JsonResponse(_model(name, started_s))

    async def chat(request: Request) -> Response:
        asked = read_fields(ChatAsked, await json_object(request))
        form = ChatForm(with_logprobs=asked.logprobs)
        if asked.top_logprobs is not None and not asked.logprobs:
            raise FieldError(
                "top_logprobs", "top_logprobs is no field without logprobs; give that too."
            )
        return await _answered(request, asked, form)

    async def completion(request: Request) -> Response:
        asked = read_fields(CompletionAsked, await json_object(request))
        form = CompletionForm(with_logprobs=asked.logprobs is not None, echoes=asked.echo)
        return await _answered(request, asked, form)

    async def _answered(
        request: Request, asked: ChatAsked | CompletionAsked, form: Form
    ) -> Response:
        if asked.stream_options is not None and not asked.stream:
            raise FieldError(
                "stream_options", "stream_options is no field without stream; give that too."
            )
        runs = asked_runs(asked, options, handlers.limits)
        refused = _refused(handlers, runs, owner_of(request))
        if refused is not None:
            return refused
        return await _answer(request, handlers, options, asked, runs, form)

    async def nothing(request: Request) -> Response:
        return api_refusal(
            f"There is no {request.method} {API_PATH}{request.path_params['path']} here; there are "
            "GET /v1/models, POST /v1/completions and POST /v1/chat/completions.",
            404,
        )

    login = [] if accounts is None else [Middleware(Login, accounts=accounts)]
    around = [*login, Middleware(BodyLimit)]
    return [
        Route("/v1/models", models, middleware=around),
        Route("/v1/models/{name:path}", model, middleware=around),
        Route("/v1/chat/completions", _told(chat), methods=["POST"], middleware=around),
        Route("/v1/completions", _told(completion), methods=["POST"], middleware=around),
        Route("/v1/{path:path}", nothing, methods=_METHODS, middleware=around),
    ]


_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def _model_names(handlers: Handlers, options: ApiOptions) -> list[str]:
    """The starting target, then those that may be named, as far as that is a list."""
    limited = handlers.limits.models
    names = sorted(CATALOGUE) if limited is None else sorted(limited)
    return list(dict.fromkeys([options.target, *names]))


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": _OWNER}


def _told(
    answer: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """What is refused becomes an error in OpenAI's form.

    Only JSON that says so is read: a browser asks first whether another site's page may send that.
    """

    async def answered(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return api_refusal(f"The content type is {shown(kind)}; give application/json.", 415)
        try:
            return await answer(request)
        except FieldError as error:
            return api_refusal(str(error), 400, error.param)
        except SpecDecodesError as error:
            return api_refusal(str(error), 400)
        except Exception:
            _log.exception("a request broke")
            return api_refusal("The request broke in the server; its log says how.", 500)

    return answered


def _refused(handlers: Handlers, runs: AskedRuns, owner: str) -> Response | None:
    """Why the operator's limits allow no such runs now; None where they do."""
    config, queue = runs.configs[0], handlers.pool.fair_queue
    try:
        handlers.limits.check_model(config.target)
    except InvalidSettingError as error:
        return api_refusal(str(error), 404, "model")
    try:
        handlers.limits.check_queue(queue.length, queue.length_of(owner))
    except InvalidSettingError as error:
        return api_refusal(str(error), 429)
    handlers.check(config, owner)
    return None


async def _answer(
    request: Request,
    handlers: Handlers,
    options: ApiOptions,
    asked: ChatAsked | CompletionAsked,
    runs: AskedRuns,
    form: Form,
) -> Response:
    """Starts the runs, and answers when the first of them is under way or refused."""
    records = [handlers.store.create(runs.text, config.mode) for config in runs.configs]
    followed = Followed(records, asked.num_logprobs)
    watching = asyncio.create_task(_stop_when_gone(request, records))
    _WATCHING.add(watching)
    watching.add_done_callback(_WATCHING.discard)
    handlers.start(
        records,
        runs.chats,
        runs.configs,
        None,
        owner_of(request),
        memory=None,
        size=options.size,
        joins=options.size > 1 and not wants_offload(runs.configs[0]),
    )
    head = Head(
        form.prefix + records[0].run_id, int(time.time()), asked.model, asked.n,
        asked.return_token_ids,
    )  # fmt: skip
    if asked.stream:
        await followed.begun()
        failure = followed.failure
        # One that breaks later tells so behind what it has said.
        if failure is None or any(choice.num_tokens for choice in followed.choices):
            lines = _lines(followed, asked.stream_options or StreamOptions(), head, form)
            return StreamingResponse(lines, media_type="text/event-stream", headers=_UNBUFFERED)
    else:
        pieces: list[list[Piece]] = [[] for _ in records]
        async for index, piece in followed.pieces():
            pieces[index].append(piece)
        failure = followed.failure
        if failure is None:
            return JsonResponse(form.whole(head, followed.choices, pieces))
    for record in records:
        record.stop.set()
    return api_refusal(failure.message, _status(failure))


# Tasks that nobody else holds on to.
_WATCHING: set[asyncio.Task[None]] = set()
_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def _stop_when_gone(request: Request, runs: Sequence[Run]) -> None:
    """Stops the runs when whoever asked has gone, or has the whole answer."""
    with ExitStack() as watching:
        for run in runs:
            watching.enter_context(run.watchers.one_more())
        while (await request.receive())["type"] != "http.disconnect":
            pass
    for run in runs:
        run.stop.set()


async def _lines(
    followed: Followed, options: StreamOptions, head: Head, form: Form
) -> AsyncIterator[str]:
    """The events of a stream: a chunk a step and choice, then why each ended, then what it cost."""
    begun: set[int] = set()
    choices = followed.choices

    def line(chunk: dict[str, Any]) -> str:
        if options.continuous_usage_stats:
            chunk["usage"] = usage(choices, head.n)
        elif options.include_usage:
            chunk["usage"] = None
        return _line(chunk)

    async for index, piece in followed.pieces():
        choice = choices[index]
        if index not in begun:
            begun.add(index)
            chunk = form.first(head, index, choice)
            if chunk is not None:
                yield line(chunk)
        yield line(form.step(head, index, piece))
    failure = followed.failure
    if failure is not None:
        yield _line(error_body(failure.message, _status(failure)))
    else:
        for index, choice in enumerate(choices):
            yield line(form.last(head, index, choice))
        if options.include_usage:
            yield _line({**form.chunk(head, []), **counts(head, choices)})
    yield _END


def _line(chunk: dict[str, Any]) -> str:
    return f"data: {dumps(chunk, separators=(',', ':'))}\n\n"


def _status(failure: Failure) -> int:
    return _REFUSALS.get(failure.error, 500)
