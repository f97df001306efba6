"""Documents that nobody waits for: handing them in, and looking what became of them."""

import asyncio
import json
from typing import Any

from tests.files import a_pdf
from tests.http.clients import Client
from tests.system.streams import SOON, events_of

PAPERS = 6


async def submitted(client: Client, shelf: str) -> list[str]:
    return [
        await client.submit(shelf, f"{n}.pdf", a_pdf(f"The word of number {n} is unique{n}x.")) for n in range(PAPERS)
    ]


async def begins(client: Client, document: str) -> dict[str, Any]:
    """The first status after it was queued, whatever that is: short steps may pass between two looks."""
    headers = {"Authorization": f"Bearer {client.token}"}
    path = "/api/rag/doc/events"
    async with client.http.stream("GET", path, params={"doc_id": document}, headers=headers) as reply:
        async for event in events_of(reply):
            status: dict[str, Any] = json.loads(event.data)
            if status["step"] != "queued":
                return status
    raise AssertionError(f"{document} was never begun")


async def check_all_came_in(client: Client, shelf: str, documents: list[str]) -> None:
    async with asyncio.timeout(SOON):
        states = [(await client.settled(document))["state"] for document in documents]
    listed = (await client.get("/api/rag/doc/list", params={"kb_id": shelf})).json()["docs"]
    assert states == ["ready"] * PAPERS
    assert sorted(document["doc_id"] for document in listed) == sorted(documents)
    for n in range(PAPERS):
        query = {"kb_id": shelf, "query": f"unique{n}x", "top_k": 1}
        (passage,) = (await client.post("/api/rag/retrieve", query)).json()["results"]
        assert f"unique{n}x" in passage["content"]
