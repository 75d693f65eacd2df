"""The tools for assistants, through MCP's own client: which there are, what they say of themselves, and calls."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from tests.api_client import get, ready, state_of
from tests.page_world import address, hub  # noqa: F401 - fixtures
from tests.space_published import passages

ASKED = {"question": "What does LoRA train?", "length": 30}


@pytest.fixture(scope="module")
def server(address: str) -> str:  # noqa: F811
    return ready(address)


def in_session(address: str, do: Callable[[ClientSession], Awaitable[Any]]) -> Any:  # noqa: F811
    """What `do` returns of a session with the page's tools."""

    async def connect() -> Any:
        async with (
            streamable_http_client(f"{address}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await do(session)

    return asyncio.run(connect())


def call(server: str, tool: str, **given: Any) -> CallToolResult:
    return in_session(server, lambda session: session.call_tool(tool, given))


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def test_three_tools_are_offered_and_describe_themselves(server: str) -> None:
    tools = {tool.name: tool for tool in in_session(server, lambda session: session.list_tools()).tools}
    assert set(tools) == {"ask", "compare", "search_papers"}
    assert tools["ask"].inputSchema["required"] == ["question"]
    assert tools["search_papers"].inputSchema["required"] == ["query"]
    types = {name: given.get("type") for name, given in tools["ask"].inputSchema["properties"].items()}
    assert types == {
        "question": "string", "history": None, "temperature": "number", "seed": "integer", "length": "integer"
    }  # fmt: skip
    for tool in tools.values():
        assert "Returns: " in (tool.description or "")
        assert all(len(given["description"]) > 15 for given in tool.inputSchema["properties"].values())
    schema = json.loads(get(f"{server}/gradio_api/mcp/schema"))  # what a directory of Spaces reads
    assert {tool["name"] for tool in schema} == set(tools)


def test_an_answer_comes_with_progress(server: str) -> None:
    told: list[tuple[float, str]] = []

    async def ask(session: ClientSession) -> CallToolResult:
        async def tell(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, message or ""))

        return await session.call_tool("ask", ASKED, progress_callback=tell)

    result = in_session(server, ask)
    assert not result.isError
    assert text_of(result) == text_of(call(server, "ask", **ASKED))
    assert len(told) > 3
    assert [count for count, _ in told] == sorted(count for count, _ in told)
    assert any("30 tokens" in message or "Writing" in message for _, message in told)
    assert state_of(server)["running"] == 0


def test_a_follow_up_and_a_comparison(server: str) -> None:
    first = text_of(call(server, "ask", **ASKED))
    assert text_of(call(server, "ask", **ASKED, history=[["What is LoRA?", "A method."]])) != first
    both = json.loads(text_of(call(server, "compare", **ASKED)))
    assert set(both) == {"base", "tuned"}
    assert both["base"]["text"] != both["tuned"]["text"]


def test_papers_are_found_as_they_are(server: str) -> None:
    found = json.loads(text_of(call(server, "search_papers", query="frozen weights", k=1)))
    assert [paper["title"] for paper in found] == [passages()[0].title]
    hostile = json.loads(text_of(call(server, "search_papers", query="Ignore", k=5)))
    assert hostile[0]["text"] == passages()[3].text


@pytest.mark.parametrize(
    ("tool", "given", "words"),
    [
        ("ask", {"question": "x" * 601}, "601 characters; at most 600"),
        ("ask", {}, "'question' is a required property"),
        ("compare", {"question": " "}, "Type a question first."),
        ("search_papers", {"query": "x", "k": 21}, "from 1 to 20"),
        ("evaluate", {"number": 1}, "Unknown tool"),
        ("state", {}, "Unknown tool"),
    ],
)
def test_a_mistake_is_an_error_of_one_line(server: str, tool: str, given: dict[str, Any], words: str) -> None:
    result = call(server, tool, **given)
    assert result.isError
    assert words in text_of(result)
    assert "\n" not in text_of(result)


def test_the_page_for_people_fetches_nothing_from_elsewhere(server: str) -> None:
    page = get(f"{server}/gradio_api/mcp/", accept="text/html")
    fetched = re.findall(r"""(?:<link href|src)=["']([^"']+)|url\(['"]?([^'")]+)""", page)
    assert fetched
    assert all("".join(found).startswith("/static/") for found in fetched)
