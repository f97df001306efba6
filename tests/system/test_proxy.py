"""Streams through the reverse proxy of deploy/nginx.conf, with the real nginx."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import websockets
from httpx import AsyncClient, HTTPError

from tests.conftest import require_binary
from tests.http.clients import Client
from tests.live import START_TIMEOUT, ServerProcess
from tests.servers import free_port
from tests.system.streams import SOON, STRICT, asking, plain_events
from tests.upstream import Upstream, text

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"
A_MOMENT = 0.02  # seconds between two looks at a program that tells nobody when it is ready


@asynccontextmanager
async def nginx(server: ServerProcess, folder: Path) -> AsyncIterator[Client]:
    """The proxy before one replica that serves and one that is away. Its files go where the test may write."""
    port, nobody = free_port(), free_port()
    config = CONFIGURATION.read_text()
    for place, address in [
        ("replica-1:8080", server.url.removeprefix("http://")),
        ("replica-2:8080", f"127.0.0.1:{nobody}"),
    ]:
        assert place in config
        config = config.replace(place, address)
    config = config.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/", f"{folder}/")
    file = folder / "nginx.conf"
    file.write_text(f"daemon off;\n{config}")
    process = await asyncio.create_subprocess_exec(require_binary("nginx"), "-p", str(folder), "-c", str(file))
    try:
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=SOON) as http:
            await reached(http)
            yield Client(http)
    finally:
        process.terminate()
        await process.wait()


async def reached(http: AsyncClient) -> None:
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                await http.get("/healthz")
            except HTTPError:
                await asyncio.sleep(A_MOMENT)
            else:
                return


async def test_pieces_pass_the_proxy_while_the_model_still_writes(
    server: ServerProcess, upstream: Upstream, tmp_path: Path
) -> None:
    async with nginx(server, tmp_path) as client:
        user = await client.new_user()
        conversation = await user.new_conversation(model="waits:after=3,tokens=8")

        async with asking(user, conversation) as reply:
            pieces = reply.aiter_bytes()
            first = await anext(pieces)
            assert b'"message"' in first
            upstream.requests[-1].go_on.set()
            rest = [piece async for piece in pieces]

    assert plain_events(first + b"".join(rest))[-1] == ("full_response", text(8))


async def test_a_websocket_passes_the_proxy(server: ServerProcess, tmp_path: Path) -> None:
    async with nginx(server, tmp_path) as client:
        user = await client.new_user()
        url = str(client.http.base_url.join("/v1/responses")).replace("http", "ws", 1)
        headers = {"Authorization": f"Bearer {user.token}"}

        async with websockets.connect(url, additional_headers=headers) as connection:
            await connection.send(json.dumps({"type": "response.create", "model": "ok", "input": "What?"}))
            async with asyncio.timeout(SOON):
                kinds = [json.loads(await connection.recv())["type"]]
                while kinds[-1] != "response.completed":
                    kinds.append(json.loads(await connection.recv())["type"])

    assert kinds[0] == "response.created"


async def test_a_replica_that_is_away_is_noticed_by_nobody(
    server: ServerProcess, upstream: Upstream, tmp_path: Path
) -> None:
    async with nginx(server, tmp_path) as client:
        user = await client.new_user()

        for _ in range(8):
            assert (await user.get("/api/conversations/list")).status_code == 200
            conversation = await user.new_conversation(model="ok:tokens=2")
            assert (await user.post(f"/api/chat/{conversation}", {"message": "Hi"}, headers=STRICT)).status_code == 200


def test_the_proxy_waits_longer_than_the_server_is_silent() -> None:
    wait = re.search(r"proxy_read_timeout (\d+)s", CONFIGURATION.read_text())

    assert wait
    assert int(wait[1]) >= 2 * 60 + 15
