"""Starting: with the old product's configuration, with Redis away, and not at all."""

from pathlib import Path

import pytest

from tests.forks import completed
from tests.http.clients import Client
from tests.live import ServerProcess
from tests.servers import RedisServer, free_port
from tests.system.processes import NewServer, connected, failed_start, started, terminated
from tests.system.streams import answered, plain_events
from tests.upstream import Upstream

PUBLISHED_SECRET = "S3cureK3y#2024!AIsafety"  # by the old product, in its documentation
NEW_SECRET = "a secret of one's own, as long as it has to be"
OLD_CONFIGURATION = """\
server:
  port: "8080"
redis:
  address: "localhost:{redis}"
  password: ""
  db: 0
sqlite:
  path: "./llm_backend.db"
  max_open_conns: 10
  max_idle_conns: 5
  conn_max_lifetime: 300 # in seconds
jwt:
  secret: "{secret}"
"""


async def uses_everything(client: Client) -> Client:
    """Somebody registers, logs in, talks, keeps documents, and logs out and in again."""
    user = await client.new_user()
    conversation = await user.new_conversation(model="demo")
    told = plain_events((await answered(user, conversation)).content)
    assert [name for name, _ in told][-2:] == ["done", "full_response"]
    assert len(await user.history(conversation)) == 2
    shelf = await user.new_knowledge_base()
    await user.new_document(shelf)
    found = await user.post("/api/rag/retrieve", {"kb_id": shelf, "query": "什么是不可抗力?"})
    assert found.json()["results"]
    assert (await user.post("/api/users/logout")).status_code == 200
    assert (await user.get("/api/conversations/list")).status_code == 401
    return await client.new_user()


async def readiness(client: Client) -> tuple[int, str, str]:
    reply = await client.get("/readyz")
    return reply.status_code, reply.json()["status"], reply.json()["parts"]["redis"]


async def test_the_old_configuration_with_a_new_secret_serves_while_redis_is_away(
    new_server: NewServer, tmp_path: Path
) -> None:
    server = await started(new_server(OLD_CONFIGURATION.format(redis=free_port(), secret=NEW_SECRET)))

    async with connected(server) as client:
        assert await readiness(client) == (200, "degraded", "degraded")
        await uses_everything(client)
    status = await terminated(server)

    assert status == 0
    assert (tmp_path / "llm_backend.db").exists()
    assert "Traceback" not in server.output
    assert NEW_SECRET not in server.output


async def test_what_is_kept_can_be_read_by_its_owner_alone(new_server: NewServer, tmp_path: Path) -> None:
    server = await started(new_server())
    async with connected(server) as client:
        await uses_everything(client)

    kept = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert {"lancedb", "uploads", "jwt.secret", "secrets.keys", "llm_backend.db"} <= {path.name for path in kept}
    assert [path for path in kept if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("command", ["migrate", "reindex"])
def test_what_other_commands_make_is_for_its_owner_alone(tmp_path: Path, command: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"data_folder: {tmp_path / 'a' / 'data'}")

    completed(command, "--config", str(config), cwd=tmp_path).check_returncode()

    made = [tmp_path / "a", *(tmp_path / "a").rglob("*")]
    assert "llm_backend.db" in {path.name for path in made}
    assert [path for path in made if path.stat().st_mode & 0o077] == []


async def test_a_passage_index_that_cannot_be_written_degrades_and_is_named(
    new_server: NewServer, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    server = await started(new_server(f"rag: {{lancedb_uri: {blocked}}}"))

    async with connected(server) as client:
        before = await client.get("/readyz")
        blocked.write_text("a file, where a folder is wanted; this stops root as well")
        after = await client.get("/readyz")

    assert (before.status_code, before.json()["parts"]) == (200, {"database": "ok", "passage_index": "ok"})
    assert (after.status_code, after.json()["parts"]) == (200, {"database": "ok", "passage_index": "degraded"})


async def test_redis_may_come_and_go_while_the_server_runs(new_server: NewServer) -> None:
    with RedisServer() as redis:
        server = await started(new_server(OLD_CONFIGURATION.format(redis=redis.port, secret=NEW_SECRET)))
        async with connected(server) as client:
            assert await readiness(client) == (200, "ok", "ok")
            user = await uses_everything(client)

            redis.stop()
            assert await readiness(client) == (200, "degraded", "degraded")
            assert (await user.get("/api/conversations/list")).status_code == 200
            await uses_everything(client)

            redis.start()
            assert await readiness(client) == (200, "ok", "ok")
            assert (await user.get("/api/conversations/list")).status_code == 200
            await uses_everything(client)
        assert "Traceback" not in server.output


def assert_refused(folder: Path, config: str, *messages: str, status: int) -> None:
    """It ends by itself, and says why in words for the operator."""
    ended = failed_start(folder, config)

    assert ended.returncode == status, ended.stderr
    for message in messages:
        assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "listens" not in ended.stdout


def test_the_published_secret_is_refused_with_a_way_out(tmp_path: Path) -> None:
    config = OLD_CONFIGURATION.format(redis=1, secret=PUBLISHED_SECRET)

    assert_refused(tmp_path, config, "jwt.secret", "published", "secrets.token_urlsafe", status=2)
    assert not (tmp_path / "llm_backend.db").exists()


def test_a_short_secret_is_refused_and_not_shown(tmp_path: Path) -> None:
    assert_refused(tmp_path, "jwt: {secret: tiny-hush}", "jwt.secret", "32 bytes", status=2)
    assert "tiny-hush" not in failed_start(tmp_path, "jwt: {secret: tiny-hush}").stderr


def test_a_wrong_configuration_is_told_whole_with_its_lines(tmp_path: Path) -> None:
    config = "server:\n  port: http\n  colour: red\nlimits: {body: many}\n"

    assert_refused(
        tmp_path,
        config,
        "3 faults",
        "server.port",
        "server.colour",
        "limits.body",
        "line 2",
        "line 3",
        "line 4",
        status=2,
    )


@pytest.mark.parametrize("config", ["server: [", "- a list", "\x00", "!!python/object/apply:os.getpid []"])
def test_what_is_no_configuration_at_all_is_refused(tmp_path: Path, config: str) -> None:
    assert_refused(tmp_path, config, "llm-backend: ", status=2)


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, where a folder is wanted; this stops root as well")

    assert_refused(tmp_path, f"data_folder: {blocked / 'data'}", "llm-backend: ", str(blocked), status=1)


def test_a_port_that_is_taken_is_named(tmp_path: Path, server: ServerProcess) -> None:
    port = server.url.rpartition(":")[2]

    ended = failed_start(tmp_path, f"data_folder: {tmp_path / 'data'}", port=port)

    assert ended.returncode == 1
    assert port in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on(
    new_server: NewServer, tmp_path: Path
) -> None:
    first = new_server().start()

    assert_refused(tmp_path, f"data_folder: {tmp_path / 'data'}", "in use", str(tmp_path / "data"), status=1)

    assert first.process.poll() is None
    assert first.terminate() == 0


@pytest.mark.parametrize(
    ("data", "database", "named"),
    [("data", "other.db", "data"), ("other", "data/llm_backend.db", "data/llm_backend.db")],
)
def test_a_second_server_that_shares_the_database_or_the_rest_is_refused(
    new_server: NewServer, tmp_path: Path, data: str, database: str, named: str
) -> None:
    new_server().start()

    config = f"data_folder: {tmp_path / data}\nsqlite: {{path: {tmp_path / database}}}"
    assert_refused(tmp_path, config, f"{tmp_path / named} is in use", status=1)


async def test_a_new_key_in_front_opens_what_the_old_one_sealed(
    new_server: NewServer, config: str, upstream: Upstream, tmp_path: Path
) -> None:
    server = await started(new_server(config))
    async with connected(server) as client:
        user = await client.new_user()
        old = await user.new_conversation(model="ok:tokens=1", api_key="sk-of-my-own")
    await terminated(server)
    ring = tmp_path / "data" / "secrets.keys"
    ring.write_text(f"# new\n{'6e' * 32}\n{ring.read_text()}")

    await started(server)
    async with connected(server) as client:
        assert (await answered(Client(client.http, user.token), old)).status_code == 200

    assert upstream.requests[-1].headers["authorization"] == "Bearer sk-of-my-own"
