"""Many commands in one round trip."""

from collections.abc import Sequence

from llm_backend.infrastructure.redis.connection import RedisConnection
from llm_backend.infrastructure.redis.servers import Command, RedisServers, Reply

# What is wrong with one key, or with one value for it. Whatever else Redis says (out of memory, loading, read-only …)
# holds for every command, and is an absence.
_LATE = "The ID specified in XADD is equal or smaller"
_OF_ONE_KEY = (_LATE, "WRONGTYPE", "Invalid stream ID", "Elements are too large")


class Refused(Exception):
    """What stands in the place of a reply when Redis did not do a command because of its key."""

    @property
    def is_of_late_entry(self) -> bool:
        """Whether the stream has that entry already, or a later one."""
        return str(self).startswith(_LATE)


async def run_all(connection: RedisConnection, commands: Sequence[Command]) -> list[Reply]:
    """The replies in the order of the commands, in the place of some a `Refused`. Raises `RedisAway`.

    When it raises, any of the commands may have been carried out.
    """
    return await connection.run_on(lambda servers: _replies(servers, commands))


async def _replies(servers: RedisServers, commands: Sequence[Command]) -> list[Reply]:
    return [_taken(reply) for reply in await servers.replies(commands)]


def _taken(reply: Reply) -> Reply:
    if not isinstance(reply, Exception):
        return reply
    if str(reply).startswith(_OF_ONE_KEY):
        return Refused(str(reply))
    raise reply
