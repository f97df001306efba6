"""What one Redis and a cluster of several do each in its own way.

The library is imported when a connection is opened: without Redis in the settings, nothing of it is loaded.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias, cast

from llm_backend.domain.secrets import Secret

Command: TypeAlias = tuple[bytes | str | int, ...]
Reply: TypeAlias = object  # as Redis sends it: bytes, numbers, None, and lists or dictionaries of those

CONNECTIONS = 8  # at a time: more would be a way to wait longer than anybody has time for


class RedisCommands(Protocol):
    """What we use of the library's clients."""

    async def initialize(self) -> object:
        """Find out who is who in a cluster, if that is not known."""

    async def ping(self) -> object: ...

    async def get(self, name: str) -> bytes | None: ...

    async def set(self, name: str, value: bytes, *, px: int) -> object: ...

    async def delete(self, name: str) -> object: ...

    def register_script(self, script: str) -> Callable[..., Awaitable[int]]:
        """The script, to be called by its hash; it is sent again when Redis does not know it, as after a restart."""

    def pubsub(self) -> Any: ...

    async def aclose(self) -> None: ...


class RedisServers(Protocol):
    """One Redis or a cluster of them. All methods raise what the library raises."""

    @property
    def client(self) -> RedisCommands: ...

    @property
    def reads_streams_together(self) -> bool:
        """Whether one command may read several streams, and wait for news in any of them."""

    async def replies(self, commands: Sequence[Command]) -> list[Reply]:
        """To all commands, in their order, each of which has one key or none; with as few round trips as possible.
        What Redis refuses has a `ResponseError` in its place."""

    async def forget(self) -> None:
        """Take no connection for good that was made before."""


class OneRedis:
    """`RedisServers`.

    The library's own pipelines cost 15 µs for each command; packed in C and read one after the other it is 6 µs.
    """

    reads_streams_together = True

    def __init__(self, address: str, password: Secret | None, db: int, seconds: float) -> None:
        """Raises `ValueError` when the address is none."""
        from redis.asyncio import BlockingConnectionPool, Redis

        options = {**_options(password, seconds), "db": db, "timeout": seconds}
        self._pool: Any = BlockingConnectionPool.from_url(_url(address), **options)
        self.client = cast(RedisCommands, Redis.from_pool(self._pool))

    async def replies(self, commands: Sequence[Command]) -> list[Reply]:
        from hiredis import pack_command

        connection = await self._pool.get_connection()
        try:
            packed = b"".join(cast(Any, pack_command)(command) for command in commands)  # its types say one argument
            await connection.send_packed_command(packed, check_health=False)
            return [await _reply(connection) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)  # replies that are still on their way belong to nobody
            raise
        finally:
            await self._pool.release(connection)

    async def forget(self) -> None:
        """Those that a restart has cut would, each in its turn, make it look away once more when it is back."""
        await self._pool.disconnect(inuse_connections=False)


class RedisClusterServers:
    """`RedisServers`: each key is on one of several, and who has which may change at any time.

    While one of them is away, all are: a cluster without all of its keys refuses every command, unless told otherwise.
    """

    reads_streams_together = False

    def __init__(self, addresses: str, password: Secret | None, seconds: float) -> None:
        """`addresses`, between commas, are those of some of the servers, which know the others. Raises `ValueError`
        when one of them is none."""
        from redis.asyncio.cluster import ClusterNode, RedisCluster
        from redis.asyncio.connection import SSLConnection, parse_url

        places = [parse_url(_url(address)) for address in addresses.split(",")]
        if any(place.get("db") or "path" in place for place in places):
            raise ValueError("A Redis Cluster has no databases and no paths")
        nodes = [ClusterNode(place.pop("host", "localhost"), place.pop("port", 6379)) for place in places]
        options: dict[str, Any] = {**places[0], **_options(password, seconds)}
        options["max_connections"] = 4 * CONNECTIONS  # to each; it fails at once when there are no more
        options["ssl"] = options.pop("connection_class", None) is SSLConnection
        self._cluster: Any = RedisCluster(startup_nodes=nodes, **options)
        for name in ("XRANGE", "XREVRANGE"):
            self._cluster.set_response_callback(name, cast(Any, _as_it_is))
        self.client = cast(RedisCommands, self._cluster)

    async def replies(self, commands: Sequence[Command]) -> list[Reply]:
        pipeline = self._cluster.pipeline()
        for name, *arguments in commands:
            pipeline.execute_command(name.decode() if isinstance(name, bytes) else name, *arguments)
        return cast(list[Reply], await pipeline.execute(raise_on_error=False))

    async def forget(self) -> None:
        """Who has which key is asked anew as well: it is what changes when one of them has failed."""
        from redis.exceptions import RedisClusterException, RedisError

        with suppress(
            RedisError, RedisClusterException, OSError
        ):  # they may break while they are closed, which is as good
            await self._cluster.aclose()


def _as_it_is(reply: Reply, **_: object) -> Reply:
    """Not made into objects, for which one Redis does not take the time either."""
    return reply


def _url(address: str) -> str:
    address = address.strip()
    return address if "://" in address else f"redis://{address}"


def _options(password: Secret | None, seconds: float) -> dict[str, Any]:
    """No retries: each would be a way to wait longer than anybody has time for."""
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    options: dict[str, Any] = {
        "max_connections": CONNECTIONS,
        "socket_timeout": None,  # ours holds for all of a command; theirs, on Python 3.11, swallows cancellations
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
    }
    if password is not None:
        options["password"] = password.reveal()
    return options


async def _reply(connection: Any) -> Reply:
    """Errors too are returned: the replies after them must be read all the same."""
    from redis.exceptions import ResponseError

    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
