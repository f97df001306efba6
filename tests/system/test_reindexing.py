"""A change of the embedding model comes to its end, however often the server is killed."""

import asyncio
import json
import random
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.http.clients import Client
from tests.system.processes import NewServer, connected, killed, started
from tests.system.streams import SOON

DOCUMENTS, KILLS = 40, 4
SECONDS_A_REQUEST = 0.1
CONFIG = """
jobs: {{lease: 1s}}
rag:
  embedding_models:
    - {{name: other, base_url: "{base_url}", model: theirs, dimensions: 16}}
"""


class Embeddings(BaseHTTPRequestHandler):
    """Slow enough to be killed in between."""

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
        time.sleep(SECONDS_A_REQUEST)
        data = [{"index": number, "embedding": _numbers(text)} for number, text in enumerate(texts)]
        body = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _numbers(text: str) -> list[float]:
    return [(zlib.crc32(f"{text}{number}".encode()) % 100) - 49.5 for number in range(16)]


@contextmanager
def an_embedding_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Embeddings)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def found(user: Client, shelf: str) -> set[str]:
    query = {"kb_id": shelf, "query": "word", "top_k": 100}
    reply = await user.post("/api/rag/retrieve", query)
    assert reply.status_code == 200, reply.text
    return {passage["doc_id"] for passage in reply.json()["results"]}


async def ended(user: Client, shelf: str) -> str:
    async with asyncio.timeout(4 * SOON):
        while True:
            status = (await user.get("/api/rag/kb/reindex/status", params={"kb_id": shelf})).json()
            if status["state"] != "running":
                return str(status["state"])
            await asyncio.sleep(0.05)


async def test_it_survives_kill_9_again_and_again(new_server: NewServer, config: str) -> None:
    chance = random.Random(3)
    with an_embedding_server() as base_url:
        server = await started(new_server(config + CONFIG.format(base_url=base_url)))
        async with connected(server) as client:
            alice = await client.new_user()
            shelf = await alice.new_knowledge_base()
            uploads = [
                alice.submit(shelf, f"{number}.txt", f"word of {number}".encode()) for number in range(DOCUMENTS)
            ]
            documents = set(await asyncio.gather(*uploads))
            assert {(await alice.settled(document))["state"] for document in documents} == {"ready"}
            body = {"kb_id": shelf, "embedding_model": "other"}
            assert (await alice.post("/api/rag/kb/reindex", body)).status_code == 202

        for _ in range(KILLS):
            async with connected(server) as client:
                assert await found(Client(client.http, alice.token), shelf) == documents
            await asyncio.sleep(chance.uniform(0, 1.2))
            await killed(server)
            await started(server)
        async with connected(server) as client:
            alice = Client(client.http, alice.token)
            state = await ended(alice, shelf)
            listed = (await alice.get("/api/rag/kb/list")).json()["kbs"]
            assert (state, listed[0]["embedding_model"]) == ("done", "other")
            assert await found(alice, shelf) == documents
            assert (await alice.post("/api/rag/kb/reindex/rollback", {"kb_id": shelf})).status_code == 202
            assert await ended(alice, shelf) == "done"
            assert await found(alice, shelf) == documents
