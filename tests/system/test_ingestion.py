"""Documents that nobody waits for: whatever happens to the server, they come in."""

import asyncio
import signal
from collections.abc import Sequence

from tests.http.clients import Client
from tests.live import ServerProcess
from tests.system.papers import PAPERS, begins, check_all_came_in, submitted
from tests.system.processes import NewServer, configuration, connected, killed, started, terminated
from tests.system.streams import SOON
from tests.upstream import Recorded, Upstream

LEASE = "jobs: {lease: 1s}\n"
REMOTE = """
rag:
  default_embedding_model: remote
  embedding_models: [{{name: remote, base_url: "{base_url}", model: embeds, dimensions: 8}}]
"""


async def check_nothing_is_left_but(server: ServerProcess, documents: Sequence[str]) -> None:
    """The originals of these, that is."""
    async with asyncio.timeout(SOON):
        while await asyncio.to_thread(files_of, server) != sorted(documents):  # noqa: ASYNC110 - they go in their time
            await asyncio.sleep(0)


def files_of(server: ServerProcess) -> list[str]:
    data = server.folder / "data"
    return sorted(file.name for file in [*(data / "originals").glob("*"), *(data / "uploads").glob("run-*/*")])


async def test_a_document_that_was_accepted_survives_kill_9_in_the_middle_of_its_job(
    new_server: NewServer, config: str
) -> None:
    server = await started(new_server(config + LEASE))
    async with connected(server) as client:
        alice = await client.new_user()
        shelf = await alice.new_knowledge_base()
        documents = await submitted(alice, shelf)
        await begins(alice, documents[0])
        await killed(server)

    await started(server)
    async with connected(server) as client:
        alice = Client(client.http, alice.token)
        await check_all_came_in(alice, shelf, documents)
    await check_nothing_is_left_but(server, documents)


async def held_up(upstream: Upstream) -> Recorded:
    """The next request for vectors, which has to be told to go on."""
    upstream.next("embeds:waiting")
    return await upstream.arrived(len(upstream.requests) + 1)


async def search(user: Client, shelf: str) -> tuple[int, bool, int]:
    """How many passages are found, whether that is degraded, and how many documents are listed."""
    found = (await user.post("/api/rag/retrieve", {"kb_id": shelf, "query": "不可抗力条款"})).json()
    listed = (await user.get("/api/rag/doc/list", params={"kb_id": shelf})).json()["docs"]
    return len(found["results"]), found.get("degraded", False), len(listed)


async def test_words_that_wait_for_their_vectors_survive_kill_9(
    new_server: NewServer, config: str, upstream: Upstream
) -> None:
    server = await started(new_server(config + LEASE + REMOTE.format(base_url=upstream.base_url)))
    async with connected(server) as client:
        alice = await client.new_user()
        shelf = await alice.new_knowledge_base()
        waiting = asyncio.create_task(held_up(upstream))
        document = await alice.submit(shelf)
        await waiting
        async with asyncio.timeout(SOON):
            while (before := await search(alice, shelf))[0] == 0:  # noqa: ASYNC110 - nobody says when
                await asyncio.sleep(0.05)
        await killed(server)

    waiting = asyncio.create_task(held_up(upstream))
    await started(server)
    async with connected(server) as client:
        alice = Client(client.http, alice.token)
        request = await waiting
        meanwhile = await search(alice, shelf)
        request.go_on.set()
        state = (await alice.settled(document))["state"]
        afterwards = await search(alice, shelf)

    assert before == meanwhile == (1, True, 0)
    assert state == "ready"
    assert afterwards == (1, False, 1)


async def test_at_the_end_of_a_server_its_jobs_are_handed_to_the_next(
    new_server: NewServer, upstream: Upstream
) -> None:
    server = await started(new_server(configuration(upstream.base_url, grace="0s")))
    async with connected(server) as client:
        alice = await client.new_user()
        shelf = await alice.new_knowledge_base()
        documents = await submitted(alice, shelf)
        status = await terminated(server, signal.SIGTERM)

    await started(server)
    async with connected(server) as client:
        await check_all_came_in(Client(client.http, alice.token), shelf, documents)
    assert status == 0
    assert "Traceback" not in server.output


async def test_a_document_deleted_in_the_middle_of_its_job_leaves_nothing_behind(
    new_server: NewServer, config: str
) -> None:
    server = await started(new_server(config + LEASE))
    async with connected(server) as client:
        alice = await client.new_user()
        shelf = await alice.new_knowledge_base()
        (document, *others) = await submitted(alice, shelf)
        await begins(alice, document)

        deleted = await alice.post("/api/rag/doc/delete", {"kb_id": shelf, "doc_id": document})

        assert deleted.status_code == 200
        assert (await alice.get("/api/rag/doc/status", params={"doc_id": document})).status_code == 404
        states = [(await alice.settled(other))["state"] for other in others]
        assert states == ["ready"] * (PAPERS - 1)
        listed = (await alice.get("/api/rag/doc/list", params={"kb_id": shelf})).json()["docs"]
        assert sorted(document["doc_id"] for document in listed) == sorted(others)
    await check_nothing_is_left_but(server, others)
