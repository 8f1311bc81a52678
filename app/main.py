"""What `python app.py` and the installed `specdecodes` do: options, page, serve."""

import argparse
import json
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from app.own_folders import provide_folders
from app.root_path import VARIABLE as ROOT_PATH_VARIABLE
from app.root_path import RootPath, parse_root_path
from app.runs.archive import MAX_AGE_DAYS, MAX_RUNS
from app.runs.limits import (
    MOST_TOKENS,
    MOST_WAITING,
    MOST_WAITING_EACH,
    Limits,
    allowed_models,
    allowed_servers,
)
from app.runs.logs import JsonLines
from app.server.accounts import VARIABLE, Accounts, read_accounts
from app.server.listening import is_own_machines, listen, shown_place
from core.command_line import OneSentenceParser, called_as, start_logging
from core.config import DEFAULT_TARGET, MOST_TOGETHER
from core.distributed.role import follow, is_follower, num_ranks
from core.errors import InvalidSettingError, SpecDecodesError
from core.modes.settings import MAX_TREE_NODES
from core.runtime.imports import quick_imports
from core.runtime.proxies import spare_this_machine, without_proxies
from core.runtime.ray_cluster import LOCAL, Cluster, connect, share_of
from presets.gallery import Preset, find_preset

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from app.engines.places import StartWorker
    from app.route_server import RouteServer
    from app.runs.handlers import Handlers

_NAME = "app.py"
# Gradio's own, as is that of the root path.
_HOST_VARIABLE = "GRADIO_SERVER_NAME"
_PORT_VARIABLE = "GRADIO_SERVER_PORT"
_MOST_WORKERS = 64
_A_GPU_EACH = "gpu"
_API_BATCH = 8


def main(arguments: list[str] | None = None) -> int:
    """Parses the options, builds the page, and serves it until interrupted."""
    options = _parse(arguments)
    if is_follower():
        return _follow()
    other = "several processes" if num_ranks() > 1 else "--tensor-parallel"
    if (num_ranks() > 1 or options.tensor_parallel > 1) and (options.workers or options.ray):
        word = "--ray" if options.ray else "--workers"
        return _refuse(f"{word} and {other} exclude each other.")
    # Before Gradio is imported: no usage statistics and no look for newer versions.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    spare_this_machine()
    try:
        accounts = read_accounts(options.auth)
        root = parse_root_path(options.root_path)
        start_logging(JsonLines())
        runs = provide_folders()
        workers = _workers_of(options)
        sockets = listen(options.host, options.port)
    except SpecDecodesError as error:
        return _refuse(str(error))
    except (OSError, UnicodeError) as error:
        place = shown_place(options.host, options.port)
        reason = getattr(error, "strerror", None) or error
        return _refuse(f"{place} cannot be used ({reason}); give another --host or --port.")
    with quick_imports(), without_proxies():
        from app.api.asked import ApiOptions
        from app.api.routes import api_routes
        from app.engines.engine_slot import EngineKey
        from app.engines.engines import load_engine
        from app.engines.model_pool import ModelPool
        from app.engines.remote_engine import Workers
        from app.engines.worker import load_in_worker
        from app.runs.archive import Archive
        from app.runs.handlers import Handlers
        from app.runs.run_keeper import keep_interrupted
        from app.runs.run_store import RunStore

    pool = ModelPool(partial(load_engine, tensor_parallel=options.tensor_parallel))
    if workers is not None:
        pool = ModelPool(Workers(load_in_worker, *workers), workers.num_workers)
    archive = Archive(runs, options.keep_runs, options.keep_days)
    keep_interrupted(archive)
    # A tunnel and a proxy of this machine let others in.
    is_private = is_own_machines(sockets) and not options.share and root == RootPath()
    try:
        servers = allowed_servers(options.allow_servers, options.target, is_private=is_private)
    except SpecDecodesError as error:
        return _refuse(str(error))
    limits = Limits(
        allowed_models(options.allow_models, options.target, is_private=is_private),
        servers,
        options.max_tokens,
        options.max_nodes,
        options.max_queue,
        options.max_queue_each,
    )
    handlers = Handlers(pool, RunStore(), archive, limits)
    api = ApiOptions(options.target, options.api_settings, options.api_batch)
    routes = api_routes(handlers, api, accounts)
    make_server = _api_server if options.api_only else _page_server
    server = make_server(options, handlers, routes, _Place(sockets, root, accounts))
    server.start()
    pool.preload_all(EngineKey(options.target, None))
    _tell_addresses(options, server)
    with suppress(KeyboardInterrupt):
        server.wait()
    with suppress(KeyboardInterrupt):  # pressed again: at once
        handlers.close()
        server.close()
    return 0


class _WorkersAsked(NamedTuple):
    """How many workers there are, and who starts them."""

    num_workers: int
    start: "StartWorker | None"
    """None starts them on this machine."""


def _workers_of(options: argparse.Namespace) -> _WorkersAsked | None:
    """The workers that are asked for; joins their cluster, and raises InvalidSettingError without."""
    if options.ray:
        from app.engines.places import RayPlaces

        count = None if options.workers in (0, _A_GPU_EACH) else options.workers
        wants_gpu = True if options.workers == _A_GPU_EACH else None
        cluster = Cluster(options.ray, count, wants_gpu=wants_gpu)
        ray = connect(cluster, [Path(__file__).parent])
        share = share_of(ray, cluster)
        return _WorkersAsked(share.num_workers, RayPlaces(ray, share))
    if options.workers == _A_GPU_EACH:
        import torch

        num_gpus = torch.cuda.device_count()
        if not num_gpus:
            raise InvalidSettingError("this machine has no CUDA GPU; give --workers a number.")
        return _WorkersAsked(num_gpus, None)
    return _WorkersAsked(options.workers, None) if options.workers else None


def _tell_addresses(options: argparse.Namespace, server: "RouteServer") -> None:
    if not options.api_only:
        print(f"SpecDecodes is at {_public_address(server) if options.share else server.address}/")
    print(f"Programs for OpenAI's API take {server.address}/v1")
    if options.mcp:
        print(f"Its MCP tools are at {server.address}/gradio_api/mcp/")
    sys.stdout.flush()


class _Place(NamedTuple):
    """Where is served, and whom."""

    sockets: list[socket]
    root: RootPath
    accounts: Accounts | None


def _page_server(
    options: argparse.Namespace, handlers: "Handlers", routes: list["BaseRoute"], place: _Place
) -> "RouteServer":
    """The page, with the interface for programs beside it."""
    with quick_imports(), without_proxies():
        from app.pages.ui import create_page
        from app.server.routes import remove_left_exports
        from app.serving import PageServer

    remove_left_exports()
    return PageServer(
        create_page(handlers, options.target, options.preset),
        handlers,
        place.sockets,
        beside=routes,
        root=place.root,
        accounts=place.accounts,
        with_mcp=options.mcp,
        with_metrics=options.metrics,
    )


def _api_server(
    options: argparse.Namespace, handlers: "Handlers", routes: list["BaseRoute"], place: _Place
) -> "RouteServer":
    """The interface for programs alone, and what those need who watch the server."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import Mount

    from app.route_server import RouteServer
    from app.server.accounts import Login
    from app.server.health import health_routes

    login = [] if place.accounts is None else [Middleware(Login, accounts=place.accounts)]
    watching = health_routes(handlers, with_metrics=options.metrics)
    app = Starlette(routes=[*routes, Mount("/", routes=watching, middleware=login)])
    return RouteServer(app, place.sockets, place.root)


def _refuse(told: str) -> int:
    print(f"{called_as(_NAME)}: {told}", file=sys.stderr)
    return 2


def _public_address(server: "RouteServer") -> str:
    """The address of a tunnel; without one, why there is none, and the page's own address."""
    from app.serving import PageServer

    assert isinstance(server, PageServer), "only a page is shared"
    try:
        return server.share()
    except Exception as error:  # of many kinds, and the page is there all the same
        print(f"{called_as(_NAME)}: there is no public link ({error}).", file=sys.stderr)
        return server.address


def _follow() -> int:
    """A process that holds a part of the targets which the first one loads."""
    import torch

    return follow("cuda" if torch.cuda.is_available() else "cpu")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = OneSentenceParser(prog=_NAME, description="Speculative decoding in the browser.")
    parser.add_argument(
        "--host",
        default=os.environ.get(_HOST_VARIABLE) or "127.0.0.1",
        help="name or address to serve at, of IPv4 or IPv6; 0.0.0.0 is every address of IPv4, and "
        f":: every one of both (default: the environment variable {_HOST_VARIABLE}, else 127.0.0.1, "
        "which only this machine reaches)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=os.environ.get(_PORT_VARIABLE) or 7860,
        help=f"port to serve at (default: the environment variable {_PORT_VARIABLE}, else 7860)",
    )
    parser.add_argument(
        "--root-path",
        default=os.environ.get(ROOT_PATH_VARIABLE, ""),
        metavar="PATH",
        help="path under which a proxy serves the page, such as /specdecodes, or the whole URL by "
        f"which browsers find it (default: the environment variable {ROOT_PATH_VARIABLE}, else the "
        "proxy's own word, X-Forwarded-Prefix)",
    )
    parser.add_argument(
        "--target",
        type=_name,
        default=DEFAULT_TARGET,
        help="model to start with: catalogue name, local folder, .gguf file, hub id or http://host:port "
        "of a server",
    )
    parser.add_argument(
        "--tensor-parallel",
        type=_count,
        default=1,
        metavar="N",
        help="GPUs of this machine that share out every layer of a target (default: 1)",
    )
    parser.add_argument("--preset", type=_preset, help="run of the gallery to start with")
    parser.add_argument("--keep-runs", type=_count, default=MAX_RUNS, help="runs kept a visitor")
    parser.add_argument(
        "--keep-days", type=_count, default=MAX_AGE_DAYS, help="days that a run is kept"
    )
    parser.add_argument(
        "--allow-models",
        metavar="WHICH",
        help="models that visitors may name: all, catalogue, or names with commas (default: all, "
        "and catalogue where other machines reach the page)",
    )
    parser.add_argument(
        "--allow-servers",
        metavar="WHICH",
        help="servers that visitors may name as targets: all, own (those of this machine), none, or "
        "host:port with commas, own among them (default: own, and none where other machines reach the "
        "page)",
    )
    parser.add_argument(
        "--max-tokens", type=_count, default=MOST_TOKENS, help="most new tokens a run"
    )
    parser.add_argument(
        "--max-nodes", type=_count, default=MAX_TREE_NODES, help="most draft tokens a step"
    )
    parser.add_argument(
        "--max-queue", type=_count, default=MOST_WAITING, help="most runs that may wait"
    )
    parser.add_argument(
        "--max-queue-each",
        type=_count,
        default=MOST_WAITING_EACH,
        help="most runs of one visitor that may wait",
    )
    parser.add_argument(
        "--auth",
        type=Path,
        metavar="FILE",
        help=f"ask visitors for a name and password of this file, a name:password a line (default: "
        f"the environment variable {VARIABLE}, which holds the same; nobody is asked without)",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        default=0,
        metavar="N",
        help="answer N visitors at once, by engines in processes of their own; gpu takes one for "
        "each GPU (default: one engine in the page's process; with --ray one a GPU, or one a machine)",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        metavar="ADDRESS",
        help="put these engines on a Ray cluster: host:port, auto for the one that runs here, or "
        "nothing to start one",
    )
    parser.add_argument("--mcp", action="store_true", help="offer the endpoints as MCP tools too")
    parser.add_argument("--metrics", action="store_true", help="serve /metrics for Prometheus")
    parser.add_argument("--share", action="store_true", help="also give a public Gradio link")
    parser.add_argument(
        "--api-only",
        action="store_true",
        help="serve programs made for OpenAI's API under /v1 alone, without the page",
    )
    parser.add_argument(
        "--api-batch",
        type=_batch_size,
        default=_API_BATCH,
        metavar="N",
        help=f"requests under /v1 that are answered side by side, at most (default: {_API_BATCH}); "
        "1 answers one after the other, each with what the last one left in the cache",
    )
    parser.add_argument(
        "--api-settings",
        type=_api_settings,
        default={"mode": "ngram"},
        metavar="JSON",
        help="settings of runs under /v1, where a request gives none, such as "
        """'{"mode": "hybrid", "drafter": {"num_nodes": 8}}' (default: mode ngram)""",
    )
    options = parser.parse_args(arguments)
    for name in ("share", "mcp", "preset"):
        if options.api_only and getattr(options, name):
            parser.error(
                f"--{name} is for the page, and --api-only serves none; leave one of them out"
            )
    return options


def _batch_size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_TOGETHER:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; give a number from 1 to {MOST_TOGETHER}"
        )
    return int(text)


def _api_settings(text: str) -> dict[str, Any]:
    from app.api.asked import operators_settings

    try:
        return operators_settings(json.loads(text))
    except (ValueError, RecursionError) as error:
        reason = str(error).rstrip(".")
        raise argparse.ArgumentTypeError(f"the settings cannot be used: {reason}") from None


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 1 to 65535")
    return int(text)


def _preset(name: str) -> Preset:
    try:
        return find_preset(name)
    except InvalidSettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; give a number from 1 to 1000000")
    return int(text)


def _workers(text: str) -> int | str:
    if text == _A_GPU_EACH:
        return text
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_WORKERS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of workers; give gpu, or a number from 1 to {_MOST_WORKERS}"
        )
    return int(text)


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty; give a model's name")
    return text.strip()
