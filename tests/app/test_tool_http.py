"""A tool that is a URL: what it is sent, and what its answer becomes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tool_play import SECRET, Answer, Service, service, tool

from tandem.bridge import Bridge
from tandem.identity import Identity
from tandem.tools.http_tool import HttpTool
from tandem.tools.schema import Arguments
from tandem.tools.tool import ToolFailed
from tandem.tools.web import Guard, Web
from tandem_providers.config import FunctionDeclaration


def of(call_id: str = "", caller: str = "") -> Bridge:
    return cast(Bridge, SimpleNamespace(identity=Identity("our-id", call_id, caller=caller)))


@asynccontextmanager
async def shop(**changes: Any) -> AsyncIterator[tuple[HttpTool, Service, Web]]:
    schema = tool("")["parameters"]
    guard = await asyncio.to_thread(Guard, allow_private=True)
    async with service() as there, Web(guard) as web:
        declaration = FunctionDeclaration("opening_hours", "When.", schema)
        yield HttpTool(declaration, there.url, Arguments(schema), secret=SECRET, **changes), there, web


async def test_numbers_that_nobody_told_are_left_out() -> None:
    async with shop() as (hours, there, web):
        await hours.run({"day": "sunday"}, of(), web)
        asked = there.asked[0]
        assert asked.told == {"call_id": "our-id", "tool": "opening_hours", "arguments": {"day": "sunday"}}
        assert asked.headers["x-tandem-call-id"] == "our-id"
        assert asked.is_signed()
        await hours.run({"day": "sunday"}, of(call_id="CA1", caller="anonymous"), web)
        assert there.asked[1].told["caller"] == "anonymous"
        assert there.asked[1].headers["x-tandem-call-id"] == "CA1"


async def test_what_a_file_adds_does_not_replace_what_is_signed() -> None:
    async with shop(headers={"X-Shop": "7"}) as (hours, there, web):
        await hours.run({"day": "sunday"}, of(), web)
        assert there.asked[0].headers["x-shop"] == "7"
        assert there.asked[0].headers["content-type"] == "application/json"


async def test_what_is_asked_again_in_a_call_has_the_same_key() -> None:
    async with shop() as (hours, there, web):
        again = replace(hours, url=f"{there.url}?other")
        for each, day, call_id in (
            (hours, "sunday", "CA1"),
            (again, "sunday", "CA1"),
            (hours, "saturday", "CA1"),
            (hours, "sunday", "CA2"),
            (replace(hours, declaration=replace(hours.declaration, name="open_now")), "sunday", "CA1"),
        ):
            await each.run({"day": day}, of(call_id=call_id), web)
    first, second, *others = (asked.headers["idempotency-key"] for asked in there.asked)
    assert first == second
    assert len({first, *others}) == 4
    assert all(len(key) == 32 and key.isalnum() for key in (first, *others))


def test_the_order_of_arguments_does_not_change_the_key() -> None:
    tool = HttpTool(FunctionDeclaration("book", "Books."), "https://shop.example", Arguments({"type": "object"}))
    one = tool.key({"number": "ä", "at": {"hour": 7, "minute": 30}}, of("CA1"))
    assert tool.key({"at": {"minute": 30, "hour": 7}, "number": "ä"}, of("CA1")) == one
    assert tool.key({"at": {"minute": 30, "hour": 8}, "number": "ä"}, of("CA1")) != one


@pytest.mark.parametrize(
    ("body", "answer"), [(b"", {"status": "done"}), (b" \n", {"status": "done"}), (b" [1]\n", [1])]
)
async def test_an_answer_is_text_and_never_nothing(body: bytes, answer: object) -> None:
    async with shop() as (hours, there, web):
        there.answer = lambda _: Answer(body)
        assert json.loads(await hours.run({"day": "sunday"}, of(), web)) == answer


@pytest.mark.parametrize("arguments", [{}, {"day": "monday"}, {"day": "sunday", "more": 1}])
async def test_nobody_is_asked_what_does_not_fit(arguments: dict[str, Any]) -> None:
    async with shop() as (hours, there, web):
        with pytest.raises(ToolFailed, match="do not fit"):
            await hours.run(arguments, of(), web)
        assert not there.asked


async def test_a_carriers_id_is_not_trusted_to_be_a_header() -> None:
    async with shop() as (hours, there, web):
        await hours.run({"day": "sunday"}, of(call_id="CA1\r\nX-Evil: 1"), web)
        assert there.asked[0].headers["x-tandem-call-id"] == "CA1X-Evil:1"
        assert "x-evil" not in there.asked[0].headers


async def test_as_something_that_a_call_can_use() -> None:
    async with shop(filler="Hm.") as (hours, _, web):
        made = hours.through(web)
        assert (made.name, made.filler) == ("opening_hours", "Hm.")
        assert await made.run({"day": "sunday"}, of()) == '{"answer": 42}'
