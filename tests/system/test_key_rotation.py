"""Keys are replaced beside running servers, which notice by themselves, and nobody who is served does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import jwt
from httpx import Response

from llm_backend.application.backend import Backend
from llm_backend.bootstrap.rotation import Rotation, rotate_secrets_keys, rotate_token_keys
from llm_backend.config import Settings
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.sql import SqlStore
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.forks import completed
from tests.http.backends import fake_backend
from tests.http.clients import PASSWORD, Client
from tests.live import ServerProcess
from tests.system.processes import NewServer, connected, started
from tests.system.streams import answered
from tests.upstream import Upstream

VISITORS = 4


async def rotate_keys(server: ServerProcess, *options: str) -> str:
    """What the command wrote, as an operator calls it beside the server."""
    arguments = ("rotate-keys", "--config", str(server.folder / "config.yaml"), *options)
    done = await asyncio.to_thread(completed, *arguments, cwd=server.folder, env=server.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@asynccontextmanager
async def visitors(user: Client, upstream: Upstream) -> AsyncIterator[list[tuple[int, str]]]:
    """Some who make conversations with keys of their own and ask in them, without pause, until the end of the block."""
    made: list[tuple[int, str]] = []
    leaving = asyncio.Event()

    async def visit(name: int) -> None:
        while not leaving.is_set():
            key = f"sk-{name}-{len(made)}"
            conversation = await user.new_conversation(model="ok:tokens=1", api_key=key)
            made.append((conversation, key))
            assert_complete(await answered(user, conversation))

    async with asyncio.TaskGroup() as group:
        for name in range(VISITORS):
            group.create_task(visit(name))
        try:
            yield made
        finally:
            leaving.set()


def assert_complete(reply: Response) -> None:
    assert (reply.status_code, "full_response" in reply.text) == (200, True), reply.text


async def test_keys_are_rotated_under_load_and_no_request_fails(
    new_server: NewServer, config: str, upstream: Upstream
) -> None:
    server = await started(new_server(config))
    async with connected(server) as client:
        user = await client.new_user()
        async with visitors(user, upstream) as made:
            told = [await rotate_keys(server) for _ in range(2)]
        dropped = await rotate_keys(server, "--drop-old", "--now")  # which is for when nobody is about to store
        upstream.requests.clear()

        for conversation, key in made:
            assert_complete(await answered(user, conversation))
            assert upstream.requests[-1].headers["authorization"] == f"Bearer {key}"

    assert len(made) >= VISITORS
    assert "A new key was made" in told[0]
    assert "is gone" in dropped
    assert "Traceback" not in server.output


async def test_tokens_outlive_their_key_until_it_is_dropped(new_server: NewServer) -> None:
    server = await started(new_server())
    async with connected(server) as client:
        user = await client.new_user("ada")
        await rotate_keys(server, "--tokens")
        again = await logged_in(client, "ada")
        assert key_of(again) != key_of(user)
        for one in (user, again):
            assert (await one.get("/api/conversations/list")).status_code == 200

        await rotate_keys(server, "--tokens", "--drop-old", "--now")

        last = await logged_in(client, "ada")
        assert key_of(last) == key_of(again)
        assert (await user.get("/api/conversations/list")).status_code == 401
        assert (await again.get("/api/conversations/list")).status_code == 200


async def logged_in(client: Client, name: str) -> Client:
    reply = await client.post("/api/users/login", {"username": name, "password": PASSWORD})
    return Client(client.http, reply.json()["token"])


def key_of(client: Client) -> object:
    return jwt.get_unverified_header(client.token or "")["kid"]


async def ask(backend: Backend, owner: UserId, conversation: ConversationId) -> None:
    answer = await backend.send_message(owner, conversation, "Hello")
    async for _ in backend.follow_answer(owner, answer):
        pass


async def test_two_replicas_on_one_database_notice_every_rotation(tmp_path: Path) -> None:
    settings = Settings(data_folder=tmp_path)
    model = ScriptedChatModel()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(SqlStore.open(settings.database_file))
        one, other = [
            await stack.enter_async_context(fake_backend(tmp_path, store=store, chat_model=model)) for _ in range(2)
        ]
        user = await one.register_user("ada", PASSWORD)
        made: dict[ConversationId, Secret] = {}
        for round_ in range(3):
            for maker, asker in [(one, other), (other, one)]:
                secret = Secret(f"sk-{round_}-{len(made)}")
                conversation = await maker.create_conversation(user, "Hello", "demo", secret)
                made[conversation.id] = secret
                token = await maker.log_in("ada", PASSWORD)
                assert (await asker.authenticate(token)).user == user
                for known in made:
                    await ask(asker, user, known)
            await rotate_secrets_keys(settings, Rotation.NEW)
            await rotate_token_keys(settings, Rotation.NEW)
        await rotate_secrets_keys(settings, Rotation.DROP_NOW)
        for conversation_id in made:
            await ask(one, user, conversation_id)
            await ask(other, user, conversation_id)

    assert len((tmp_path / "secrets.keys").read_text().split()) == 1
    assert {request.api_key for request in model.requests} == set(made.values())
