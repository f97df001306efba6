"""The passage index filled from the database, by a command."""

from contextlib import AsyncExitStack

from llm_backend.application.mending import IndexState, MendIndex, Reindex
from llm_backend.bootstrap.adapters import open_passage_index
from llm_backend.bootstrap.databases import open_store
from llm_backend.config import Settings


async def reindex(settings: Settings, *, anew: bool) -> int:
    """With no more of the program than that takes: a server would also do jobs, and finish the answers of others.

    Returns how many passages the index holds then. Raises `InUse` when the data folder belongs to a running server.
    """
    async with AsyncExitStack() as stack:
        store = await open_store(settings, stack)
        index = await open_passage_index(settings, stack)
        return await Reindex(MendIndex(store.knowledge_views, index, IndexState()))(anew=anew)
