"""A replica that does no jobs, and workers that do: one database, and uploads in an object store.

The index is in a folder: on a busy machine, searching it in the object store of the tests may take longer than a search
is given.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http.clients import Client
from tests.live import ServerProcess, WorkerProcess
from tests.servers import PostgresCluster, S3Server
from tests.system.papers import begins, check_all_came_in, submitted
from tests.system.processes import NewServer, configuration, connected, killed, started, terminated
from tests.upstream import Upstream

SCALED = """\
database: {{url: "{database}"}}
object_storage: {{endpoint: "{endpoint}", allow_http: true, access_key: test, secret_key: test}}
originals_uri: s3://{bucket}/originals
rag: {{lancedb_uri: "{index}"}}
"""
NewWorker = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index")


@pytest.fixture
def config(cluster: PostgresCluster, store: S3Server, provider: Upstream, index: Path) -> str:
    """Without any word about jobs; nobody is given time at the end."""
    shared = SCALED.format(database=cluster.url(), endpoint=store.endpoint, bucket=store.bucket, index=index)
    return configuration(provider.base_url, grace="0s") + shared


@pytest.fixture
def replica(new_server: NewServer, config: str) -> ServerProcess:
    return new_server(config + "jobs: {concurrency: 0}\n")


@pytest.fixture
def new_worker(own_servers: list[ServerProcess], config: str, tmp_path: Path) -> NewWorker:
    def make(lease: str = "1s") -> ServerProcess:
        folder = tmp_path / f"worker-{len(own_servers)}"
        folder.mkdir()
        worker = WorkerProcess(folder, f"{config}jobs: {{lease: {lease}}}\n")
        own_servers.append(worker)
        return worker

    return make


async def test_an_upload_waits_for_a_worker_that_has_another_data_folder(
    replica: ServerProcess, new_worker: NewWorker, cluster: PostgresCluster
) -> None:
    worker = await started(new_worker())
    await started(replica)
    async with connected(replica) as client:
        alice = await client.new_user()
        shelf = await alice.new_knowledge_base()

        uploaded = await alice.upload(shelf)
        broken = await alice.upload(shelf, "broken.pdf", b"no pdf")

        assert uploaded.status_code == 200
        assert (broken.status_code, broken.json()["code"]) == (400, "document_unreadable")
        found = await alice.post("/api/rag/retrieve", {"kb_id": shelf, "query": "不可抗力"})
        assert len(found.json()["results"]) == 1
    assert await terminated(worker) == 0
    assert "works: 8 jobs at a time" in worker.output.splitlines()[0]
    assert f"PostgreSQL at 127.0.0.1:{cluster.port}/postgres" in worker.output
    assert "Traceback" not in worker.output + replica.output


async def test_what_a_worker_was_at_when_it_was_killed_is_taken_over_by_another(
    replica: ServerProcess, new_worker: NewWorker
) -> None:
    await started(replica)
    async with connected(replica) as client:
        alice = await client.new_user()
        shelf = await alice.new_knowledge_base()
        documents = await submitted(alice, shelf)
        assert (await alice.status(documents[0]))["step"] == "queued"

        worker = await started(new_worker())
        await begins(alice, documents[0])
        await killed(worker)
        await started(new_worker())

        await check_all_came_in(alice, shelf, documents)


async def test_what_a_worker_was_at_when_it_was_told_to_end_is_handed_to_another_at_once(
    replica: ServerProcess, new_worker: NewWorker
) -> None:
    await started(replica)
    async with connected(replica) as client:
        alice: Client = await client.new_user()
        shelf = await alice.new_knowledge_base()
        documents = await submitted(alice, shelf)

        worker = await started(new_worker(lease="1h"))
        await begins(alice, documents[0])
        status = await terminated(worker, signal.SIGTERM)
        await started(new_worker(lease="1h"))

        await check_all_came_in(alice, shelf, documents)
    assert status == 0
    assert "Traceback" not in worker.output
