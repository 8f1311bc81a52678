"""The page's endpoints as an MCP client has them."""

import asyncio
import base64
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


@asynccontextmanager
async def _session(page: str, account: tuple[str, str] | None) -> AsyncIterator[ClientSession]:
    headers = {}
    if account:
        encoded = base64.b64encode(":".join(account).encode()).decode()
        headers["Authorization"] = f"Basic {encoded}"
    async with (
        streamablehttp_client(f"{page}/gradio_api/mcp/", headers=headers) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """On a thread of its own: a browser's driver may have a loop on this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def tools_of(page: str, account: tuple[str, str] | None = None) -> dict[str, Any]:
    """The tools of the page at an address, by their full names."""

    async def listed() -> dict[str, Any]:
        async with _session(page, account) as session:
            return {tool.name: tool for tool in (await session.list_tools()).tools}

    return _run(listed())


def call_tool(
    page: str, name: str, account: tuple[str, str] | None = None, **arguments: Any
) -> str:
    """What a tool answers; raises RuntimeError with what it refuses."""

    async def called() -> str:
        async with _session(page, account) as session:
            result = await session.call_tool(name, arguments)
            text = "\n".join(part.text for part in result.content if part.type == "text")
            if result.isError:
                raise RuntimeError(text)
            return text

    return _run(called())
