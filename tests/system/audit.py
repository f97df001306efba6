"""Whether everything is there that was acknowledged, and nothing by halves.

What nobody was told may be there or not; an audit notes down what it finds of that, so that the next one is strict.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from httpx import AsyncClient

from tests.http.clients import PASSWORD, Client
from tests.system.load import Exchange, Load, Paper, Thread, User
from tests.system.streams import STRICT, all_events, data_of, resuming


@dataclass(slots=True)
class Findings:
    """How much was looked at; an audit of nothing proves nothing."""

    accounts: int = 0
    answers: int = 0
    cut: int = 0
    papers: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Audit:
    """`well` makes the provider answer the next request, and returns what it will answer."""

    http: AsyncClient
    findings: Findings
    well: Callable[[], str]

    async def of(self, load: Load) -> None:
        for name in load.names:
            await self._account(name)
        for user in load.users:
            client = Client(self.http, user.token)
            listed = {line["conversation_id"] for line in (await client.get("/api/conversations/list")).json()}
            for thread in user.threads:
                await self._thread(client, thread, listed=thread.id in listed)
            if user.shelf:
                await self._shelf(client, user)

    async def _account(self, name: str) -> None:
        """Its name is taken; looking at the password would take a lot of hashing."""
        reply = await self.http.post("/api/users/register", json={"username": name, "password": PASSWORD})
        assert (reply.status_code, reply.json()["code"]) == (400, "username_taken"), name
        self.findings.accounts += 1

    # Conversations ---------------------------------------------------------------------------------------------------

    async def _thread(self, client: Client, thread: Thread, *, listed: bool) -> None:
        history = await client.get(f"/api/conversations/history/{thread.id}")
        assert history.status_code == (200 if listed else 404)
        if thread.deleted is None:
            thread.deleted = not listed
        assert listed is not thread.deleted, thread
        if thread.deleted:
            self.findings.deleted += 1
            return
        cut = await self._read_to_the_end(client, thread)
        await self._messages(client, thread)
        if cut:
            await self._ask_again(client, thread)

    async def _read_to_the_end(self, client: Client, thread: Thread) -> bool:
        """Go on where the stream broke off. Whether it had."""
        last = thread.pending or (thread.exchanges[-1] if thread.exchanges else None)
        if last is None or last.done or last.failed:
            return False
        async with resuming(client, thread.id, **({"Last-Event-ID": last.last_id} if last.last_id else {})) as reply:
            events = [] if reply.status_code == 204 else await all_events(reply)
        if thread.pending is None:
            assert reply.status_code == 200, thread
            assert events[-1].event in {"full_response", "stream_error"}
            if events[-1].event == "stream_error":
                assert data_of(events[-1])["code"] in {"interrupted", "stopped", "upstream_timeout"}
            self.findings.cut += 1
        return True

    async def _messages(self, client: Client, thread: Thread) -> None:
        messages = await client.history(thread.id)
        if thread.pending and len(messages) == 2 * len(thread.exchanges) + 2:
            thread.exchanges.append(thread.pending)
        thread.pending = None
        assert [message["message_id"] for message in messages] == list(range(1, 2 * len(thread.exchanges) + 1)), thread
        for exchange, question, answer in zip(thread.exchanges, messages[::2], messages[1::2], strict=True):
            assert (question["role"], question["content"]) == ("user", exchange.question)
            assert answer["role"] == "assistant"
            self._answer(exchange, answer)

    def _answer(self, exchange: Exchange, answer: dict[str, Any]) -> None:
        """Whole if it was seen to end, else what it is stays what it is."""
        self.findings.answers += 1
        if exchange.done or "state" not in answer:
            assert answer == {**answer, "content": exchange.whole}
            assert "state" not in answer
            exchange.done = True
        elif exchange.failed:
            assert (answer["state"], answer["content"]) == ("incomplete", exchange.text)
        else:
            assert answer["state"] == "incomplete"
            assert exchange.whole.startswith(answer["content"])
            exchange.seen, exchange.failed = [answer["content"]], True

    async def _ask_again(self, client: Client, thread: Thread) -> None:
        """The conversation takes the next message."""
        expected = self.well()
        reply = await client.post(f"/api/chat/{thread.id}", {"message": "And now?"}, headers=STRICT)
        assert reply.status_code == 200, reply.text
        assert reply.text.count("event: full_response\n") == 1
        thread.exchanges.append(Exchange("And now?", expected, done=True))
        await self._messages(client, thread)

    # Documents -------------------------------------------------------------------------------------------------------

    async def _shelf(self, client: Client, user: User) -> None:
        for paper in user.papers:
            if paper.id:
                await client.get("/api/rag/doc/events", params={"doc_id": paper.id})  # until it has been read in
        reply = await client.get("/api/rag/doc/list", params={"kb_id": user.shelf})
        listed = {document["doc_id"]: document["doc_name"] for document in reply.json()["docs"]}
        for paper in user.papers:
            await self._paper(client, user, paper, listed)
        assert set(listed) == {paper.id for paper in user.papers if paper.id and not paper.deleted}

    async def _paper(self, client: Client, user: User, paper: Paper, listed: dict[str, str]) -> None:
        if not paper.id:
            paper.id = next((id_ for id_, name in listed.items() if name == paper.name), "")
        if not paper.id:
            return  # it may have been stored, and come in yet
        if paper.deleted is None:
            paper.deleted = paper.id not in listed
        assert (paper.id in listed) is not paper.deleted, paper
        found = await self._found(client, user, paper)
        assert found is not paper.deleted, paper
        self.findings.papers += found
        self.findings.deleted += not found

    async def _found(self, client: Client, user: User, paper: Paper) -> bool:
        reply = await client.post("/api/rag/retrieve", {"kb_id": user.shelf, "query": paper.word, "top_k": 3})
        assert reply.status_code == 200, reply.text
        return any(
            passage["doc_name"] == paper.name and paper.word in passage["content"]
            for passage in reply.json()["results"]
        )
