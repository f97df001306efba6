"""Both framings of an answer, to the byte, and as other people's readers see them."""

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing, require_binary
from tests.http.clients import Client
from tests.live import ServerProcess
from tests.system.streams import (
    PING,
    SOON,
    STRICT,
    all_events,
    answered,
    asking,
    plain_events,
    resuming,
)
from tests.upstream import Upstream, text, tokens

JS = Path(__file__).parent / "js"
LONGEST_INSTALLATION = 120.0  # seconds


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def written_events(count: int) -> list[dict[str, Any]]:
    """What the provider's answer of so many tokens becomes."""
    messages = [{"event": "message", "data": token} for token in tokens(count)]
    ending = [{"event": "done", "data": "Stream finished"}, {"event": "full_response", "data": text(count)}]
    return messages + ending


async def test_the_default_framing_is_json_and_blank_lines_to_the_byte(alice: Client) -> None:
    conversation = await alice.new_conversation(model="ok:tokens=23")

    reply = await answered(alice, conversation)

    assert reply.content.decode() == "".join(f"{as_json(event)}\n\n" for event in written_events(23))
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["vary"] == "Accept"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"


async def test_the_strict_framing_is_server_sent_events_to_the_byte(alice: Client) -> None:
    conversation = await alice.new_conversation(model="ok:tokens=23")

    reply = await answered(alice, conversation, **STRICT)

    written = reply.content.replace(PING, b"").decode()  # a machine that is slow enough keeps the stream alive
    answer = re.match(r"retry: 1000\nid: ([1-9]\d*)\.1\n", written)
    assert answer
    blocks = [
        f"id: {answer[1]}.{number}\nevent: {event['event']}\ndata: {as_json(event)}\n\n"
        for number, event in enumerate(written_events(23), 1)
    ]
    assert written == "retry: 1000\n" + "".join(blocks)


async def test_an_answer_in_one_piece_is_told_token_by_token(alice: Client) -> None:
    conversation = await alice.new_conversation(model="burst:tokens=300")

    reply = await answered(alice, conversation)

    told = plain_events(reply.content)
    assert [data for name, data in told if name == "message"] == tokens(300)
    assert told[-1] == ("full_response", text(300))


async def test_httpx_sse_reads_the_strict_framing(alice: Client) -> None:
    conversation = await alice.new_conversation(model="ok:tokens=23")

    async with asking(alice, conversation, **STRICT) as reply:
        events = await all_events(reply)

    assert [json.loads(event.data) for event in events] == written_events(23)
    assert [event.event for event in events] == [event["event"] for event in written_events(23)]
    assert len({event.id for event in events}) == 25
    assert events[0].retry == 1000


def npm(node: str) -> list[str]:
    """Run from the package's folder: the command `npm` of the node that pyright brings does not find it."""
    bundled = Path(node).parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    return [node, str(bundled)] if bundled.exists() else [require_binary("npm")]


def install_eventsource_parser(node: str, folder: Path) -> None:
    """As the lock has it, from whatever registry npm is configured for."""
    for name in ("package.json", "package-lock.json", "read.mjs"):
        shutil.copy(JS / name, folder)
    command = [*npm(node), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=LONGEST_INSTALLATION, check=False
        )
    except subprocess.TimeoutExpired:
        missing(f"npm could not install eventsource-parser within {LONGEST_INSTALLATION} s")
    if done.returncode:
        missing(f"npm could not install eventsource-parser: {done.stderr[-500:]}")


async def test_eventsource_parser_reads_the_strict_framing_in_node(
    alice: Client, server: ServerProcess, tmp_path: Path
) -> None:
    node = require_binary("node")
    await asyncio.to_thread(install_eventsource_parser, node, tmp_path)
    conversation = await alice.new_conversation(model="ok:tokens=23,delay=0.05")

    command = [node, "read.mjs", f"{server.url}/api/chat/{conversation}", f"Bearer {alice.token}"]
    reading = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=subprocess.PIPE)
    output, _ = await asyncio.wait_for(reading.communicate(), SOON)

    seen = json.loads(output)
    assert seen["errors"] == []
    assert seen["retries"] == [1000]
    assert [json.loads(event["data"]) for event in seen["events"]] == written_events(23)
    assert [event["event"] for event in seen["events"]] == [event["event"] for event in written_events(23)]
    answer = seen["events"][0]["id"].partition(".")[0]
    assert [event["id"] for event in seen["events"]] == [f"{answer}.{number}" for number in range(1, 26)]


def test_the_lock_of_the_node_package_names_no_address() -> None:
    lock = (JS / "package-lock.json").read_text()

    assert "://" not in lock
    assert "resolved" not in lock
    assert '"integrity": "sha512-' in lock


@pytest.mark.parametrize("headers", [{}, STRICT], ids=["plain", "strict"])
async def test_events_arrive_while_the_answer_is_still_being_written(
    alice: Client, upstream: Upstream, headers: dict[str, str]
) -> None:
    conversation = await alice.new_conversation(model="waits:after=3,tokens=6")

    async with asking(alice, conversation, **headers) as reply:
        lines = reply.aiter_lines()
        seen = ""
        while "世界" not in seen:  # the third piece; the others are not written yet
            seen += await anext(lines)
        (await upstream.arrived()).go_on.set()
        rest = "".join([line async for line in lines])

    assert "full_response" not in seen
    assert "full_response" in rest


async def test_a_silent_strict_stream_is_kept_alive_by_comments_of_one_line(alice: Client, upstream: Upstream) -> None:
    conversation = await alice.new_conversation(model="waits:after=1,tokens=2")

    written = b""
    async with asking(alice, conversation, **STRICT) as reply:
        async for piece in reply.aiter_bytes():
            written += piece
            if written.count(PING) == 2:
                (await upstream.arrived()).go_on.set()

    first, _, rest = written.partition(b"\n\n")
    assert first.endswith(b'data: {"event":"message","data":"Hello"}')
    assert rest.startswith(PING * 2 + b"id: ")


async def test_a_silent_stream_in_the_default_framing_stays_silent(alice: Client, upstream: Upstream) -> None:
    conversation = await alice.new_conversation(model="waits:after=1,tokens=2")

    async with asking(alice, conversation) as plain:
        written = plain.aiter_raw()
        seen = await anext(written)
        async with resuming(alice, conversation) as strict:
            async for piece in strict.aiter_bytes():
                if PING in piece:
                    break  # so time enough has passed
        (await upstream.arrived()).go_on.set()
        seen += b"".join([piece async for piece in written])

    assert [name for name, _ in plain_events(seen)] == ["message", "message", "done", "full_response"]
