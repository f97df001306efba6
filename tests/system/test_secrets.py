"""Keys, passwords and tokens are in nothing that the server writes."""

from pathlib import Path

from tests.http.clients import PASSWORD, Client
from tests.live import ServerProcess
from tests.system.processes import NewServer, connected, started, terminated
from tests.system.streams import answered
from tests.upstream import Upstream

OWN_KEY = "sk-own-K9x2Lq7Wz4Rt8Vb3"
SERVER_KEY = "sk-server-P5m1Yh6Ju0Nc3Fd"
WRONG_PASSWORD = "wrong-Hq3Zt9Xk5Bv"
FAILURES = ("ok:tokens=3", "401", "429:retry_after=60", "500", "reset:after=2", "error_event:after=1", "garbage")


def assert_nowhere(server: ServerProcess, folder: Path, *secrets: str) -> None:
    """Neither in the output nor in any byte of the data."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    for secret in secrets:
        assert secret not in server.output
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


async def conversed(alice: Client, upstream: Upstream) -> None:
    """With every failure of a provider, each under a key of the conversation and under the server's."""
    for key in ({"api_key": OWN_KEY}, {}):
        for failure in FAILURES:
            conversation = await alice.new_conversation(model=failure, **key)
            reply = await answered(alice, conversation)
            for seen in (reply.text, (await alice.get(f"/api/conversations/history/{conversation}")).text):
                assert OWN_KEY not in seen
                assert SERVER_KEY not in seen
    sent = {request.headers["authorization"] for request in upstream.requests}
    assert sent == {f"Bearer {OWN_KEY}", f"Bearer {SERVER_KEY}"}


async def test_no_secret_is_in_the_logs_or_in_the_data(
    new_server: NewServer, config: str, upstream: Upstream, tmp_path: Path
) -> None:
    config = config.replace("sk-of-the-server", "${THE_KEY}") + "log: {level: debug}\n"
    server = await started(new_server(config, environment={"THE_KEY": SERVER_KEY}))
    async with connected(server) as client:
        alice = await client.new_user("alice")
        await client.post("/api/users/login", {"username": "alice", "password": WRONG_PASSWORD})
        await conversed(alice, upstream)
        kept = await alice.new_conversation(model="ok:tokens=3", api_key=OWN_KEY)
        assert OWN_KEY not in (await alice.get("/api/conversations/list")).text
        await alice.get(f"/api/conversations/list?token={alice.token}")
        secrets = (OWN_KEY, SERVER_KEY, PASSWORD, WRONG_PASSWORD, str(alice.token))
        assert_nowhere(server, tmp_path / "data", *secrets)

    assert await terminated(server) == 0
    assert_nowhere(server, tmp_path / "data", *secrets)

    upstream.requests.clear()
    await started(server)
    async with connected(server) as client:
        assert (await answered(Client(client.http, alice.token), kept)).status_code == 200
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {OWN_KEY}"


async def test_the_files_with_keys_are_for_their_owner_alone(new_server: NewServer, tmp_path: Path) -> None:
    await started(new_server())

    for name in ("jwt.secret", "secrets.keys"):
        assert (tmp_path / "data" / name).stat().st_mode & 0o077 == 0
