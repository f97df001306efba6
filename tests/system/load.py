"""Users who use everything at once, and remember what they were told."""

import asyncio
import random
from contextlib import aclosing
from dataclasses import dataclass, field

from httpx import AsyncClient, TransportError
from httpx_sse import ServerSentEvent

from tests.http.clients import PASSWORD, Client
from tests.system.streams import STRICT, asking, data_of, events_of
from tests.upstream import text

MODELS = ("burst:tokens=60", "ok:tokens=40,delay=0.01", "waits:after=20,tokens=30")  # quick, slow, never-ending
WORDS = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "garnet", "heath", "indigo", "juniper", "krill", "lotus")


@dataclass(slots=True)
class Exchange:
    """A question, and what was read of its answer."""

    question: str
    whole: str
    """What the provider writes in all, if it is let."""
    seen: list[str] = field(default_factory=list)
    last_id: str = ""
    done: bool = False
    failed: bool = False

    @classmethod
    def of(cls, model: str, question: str) -> "Exchange":
        return cls(question, text(int(model.partition("tokens=")[2].partition(",")[0])))

    def read(self, event: ServerSentEvent) -> None:
        self.last_id = event.id
        match event.event:
            case "message":
                self.seen.append(data_of(event))
            case "done":
                self.done = True
            case "stream_error":
                self.failed = True

    @property
    def text(self) -> str:
        return "".join(self.seen)


@dataclass(slots=True)
class Thread:
    """A conversation and all acknowledged exchanges in it. `pending` is a question that nobody acknowledged."""

    id: int
    model: str
    exchanges: list[Exchange] = field(default_factory=list)
    pending: Exchange | None = None
    deleted: bool | None = False
    """None when that was asked for and not acknowledged."""


@dataclass(slots=True)
class Paper:
    """A document; `word` is in no other. Its id is empty when the upload was not acknowledged."""

    name: str
    word: str
    id: str = ""
    deleted: bool | None = False


@dataclass(slots=True)
class User:
    """One account, and what it was told is there."""

    name: str
    token: str
    threads: list[Thread] = field(default_factory=list)
    shelf: str = ""
    papers: list[Paper] = field(default_factory=list)


class Load:
    """`run` works until the server is gone. `names` and `users` are those who were acknowledged."""

    def __init__(self, http: AsyncClient, chance: random.Random, *, mark: str) -> None:
        self.names: list[str] = []
        self.users: list[User] = []
        self.acknowledged = 0
        self.acknowledged_papers = 0
        self._one_more = asyncio.Condition()
        self._http = http
        self._chance = chance
        self._mark = mark
        self._count = 0

    async def run(self) -> None:
        """Returns when everybody has lost the connection."""
        talkers = [self._talker() for _ in range(5)]
        keepers = [self._keeper() for _ in range(3)]
        work = [*talkers, *keepers, self._comer()]
        ended = await asyncio.gather(*work, return_exceptions=True)
        for error in ended:
            if not isinstance(error, TransportError):
                raise error or AssertionError("somebody ended before the server did")

    async def acknowledges(self, count: int, *, papers: int = 0) -> None:
        """Wait until so many things have been acknowledged, and so many documents among them, which take longest."""
        async with self._one_more:
            await self._one_more.wait_for(lambda: self.acknowledged >= count and self.acknowledged_papers >= papers)

    # Accounts --------------------------------------------------------------------------------------------------------

    async def _comer(self) -> None:
        while True:
            await self._register()

    async def _newcomer(self) -> User:
        name = await self._register()
        reply = await self._http.post("/api/users/login", json={"username": name, "password": PASSWORD})
        assert reply.status_code == 200
        user = User(name, reply.json()["token"])
        self.users.append(user)
        return user

    async def _register(self) -> str:
        name = f"{self._mark}-{self._next()}"
        reply = await self._http.post("/api/users/register", json={"username": name, "password": PASSWORD})
        assert reply.status_code in {201, 429}, reply.text  # 429: more at once than there is room for hashing
        if reply.status_code == 429:
            return await self._register()
        self.names.append(name)
        await self._acknowledge()
        return name

    # Conversations ---------------------------------------------------------------------------------------------------

    async def _talker(self) -> None:
        user = await self._newcomer()
        client = Client(self._http, user.token)
        while True:
            model = self._chance.choice(MODELS)
            thread = Thread(await client.new_conversation(model=model), model)
            user.threads.append(thread)
            await self._acknowledge()
            for _ in range(self._chance.randint(1, 3)):
                await self._ask(client, thread)
            if self._chance.random() < 0.25:
                await self._delete_thread(client, thread)

    async def _ask(self, client: Client, thread: Thread) -> None:
        exchange = thread.pending = Exchange.of(thread.model, f"question {self._next()}")
        async with asking(client, thread.id, exchange.question, **STRICT) as reply:
            assert reply.status_code == 200
            async with aclosing(events_of(reply)) as events:  # type: ignore[type-var]
                async for event in events:
                    if not exchange.last_id:  # the first event
                        thread.pending = None
                        thread.exchanges.append(exchange)
                        await self._acknowledge()
                    exchange.read(event)
                    if self._is_fed_up(thread, exchange):
                        await client.post(f"/api/chat/{thread.id}/stop")

    def _is_fed_up(self, thread: Thread, exchange: Exchange) -> bool:
        """Never-ending answers are stopped now and then, or there would soon be nothing else."""
        return thread.model.startswith("waits") and len(exchange.seen) == 20 and self._chance.random() < 0.7

    async def _delete_thread(self, client: Client, thread: Thread) -> None:
        thread.deleted = None
        reply = await client.post(f"/api/conversations/del/{thread.id}")
        assert reply.status_code == 200, reply.text
        thread.deleted = True
        await self._acknowledge()

    # Documents -------------------------------------------------------------------------------------------------------

    async def _keeper(self) -> None:
        user = await self._newcomer()
        client = Client(self._http, user.token)
        user.shelf = await client.new_knowledge_base()
        await self._acknowledge()
        while True:
            await self._upload(client, user)
            kept = [paper for paper in user.papers if not paper.deleted]
            if len(kept) > 2 and self._chance.random() < 0.4:
                await self._delete_paper(client, user, self._chance.choice(kept))

    async def _upload(self, client: Client, user: User) -> None:
        number = self._next()
        paper = Paper(f"paper-{number}.txt", f"zq{self._mark}x{number}")
        user.papers.append(paper)
        sentences = [f"{self._chance.choice(WORDS)} and {self._chance.choice(WORDS)}." for _ in range(60)]
        content = " ".join([*sentences, f"The word of this paper is {paper.word}."])
        wait = self._chance.random() < 0.5
        params = {"wait": str(wait).lower()}
        reply = await client.upload(user.shelf, paper.name, content.encode(), params=params)
        assert reply.status_code == (200 if wait else 202), reply.text
        paper.id = reply.json()["doc_id"]
        self.acknowledged_papers += 1
        await self._acknowledge()

    async def _delete_paper(self, client: Client, user: User, paper: Paper) -> None:
        paper.deleted = None
        reply = await client.post("/api/rag/doc/delete", {"kb_id": user.shelf, "doc_id": paper.id})
        assert reply.status_code == 200, reply.text
        paper.deleted = True
        await self._acknowledge()

    # -----------------------------------------------------------------------------------------------------------------

    async def _acknowledge(self) -> None:
        async with self._one_more:
            self.acknowledged += 1
            self._one_more.notify_all()

    def _next(self) -> int:
        self._count += 1
        return self._count
