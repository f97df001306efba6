"""People who use everything at once, go to another server when one is gone, and remember what they were told.

Whatever they create or send has a key, under which they try again until they are told that it is done. So each of it
must be there in the end, once and whole.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from httpx import AsyncClient, Response, TransportError

from tests.faults.readers import PATIENCE, PAUSE, Reader, given_twice
from tests.http.clients import PASSWORD
from tests.upstream import counted

TRY_AGAIN = {408, 409, 429, 503, 507}  # 408 is for people on machines too busy to send what they say
WORDS = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "garnet", "heath", "indigo", "juniper", "krill", "lotus")


@dataclass(slots=True)
class Talk:
    """A conversation, and what was read in it."""

    id: int
    exchanges: list[Reader] = field(default_factory=list)
    deleted: bool = False


@dataclass(slots=True)
class Paper:
    """A document; `word` is in no other."""

    id: str
    name: str
    word: str
    deleted: bool = False


@dataclass(slots=True)
class Person:
    """One account. `urls` are those of all servers; each request goes to another one."""

    urls: Sequence[str]
    http: AsyncClient
    chance: random.Random
    tally: "Counter[str]"
    name: str = ""
    token: str = ""
    shelf: str = ""
    talks: list[Talk] = field(default_factory=list)
    papers: list[Paper] = field(default_factory=list)

    async def settle(self) -> None:
        self.name = f"p{uuid4().hex[:12]}"
        credentials = {"username": self.name, "password": PASSWORD}
        await self.call("POST", "/api/users/register", json=credentials, accepted={201, 400})
        self.token = (await self.call("POST", "/api/users/login", json=credentials)).json()["token"]
        self.shelf = (await self.call("POST", "/api/rag/kb/create", json={"kb_name": "Shelf"})).json()["kb_id"]

    # What they do ----------------------------------------------------------------------------------------------------

    async def talk(self, model: str) -> None:
        """Begin a conversation, ask a few things, and perhaps throw it away."""
        body = {"title": "Talk", "model": model}
        talk = Talk((await self.call("POST", "/api/conversations/create", json=body)).json()["conversation_id"])
        self.talks.append(talk)
        for number in range(self.chance.randint(1, 3)):
            await self.ask(talk, f"{self.name}-{number}")
        if self.chance.random() < 0.25:
            await self.call("POST", f"/api/conversations/del/{talk.id}", accepted={200, 404})
            talk.deleted = True
            self.tally["conversations deleted"] += 1

    async def ask(self, talk: Talk, question: str) -> None:
        urls = list(self.urls)
        self.chance.shuffle(urls)
        reader = Reader(urls=urls, token=self.token, conversation=talk.id, question=question)
        await reader.ask()
        talk.exchanges.append(reader)
        self.tally.update(reader.refusals)
        self.tally["answers"] += 1
        self.tally["answers with a break"] += reader.was_cut_off
        self.tally["answers incomplete"] += bool(reader.failure)

    async def upload(self) -> None:
        word = f"zq{uuid4().hex[:12]}"
        sentences = [f"{self.chance.choice(WORDS)} and {self.chance.choice(WORDS)}." for _ in range(60)]
        content = " ".join([*sentences, f"The word of this paper is {word}."]).encode()
        files = {"file": (f"{word}.txt", content)}
        reply = await self.call("POST", "/api/rag/doc/upload", data={"kb_id": self.shelf}, files=files)
        self.papers.append(Paper(reply.json()["doc_id"], f"{word}.txt", word))
        self.tally["uploads"] += 1

    async def throw_away(self) -> None:
        if kept := [paper for paper in self.papers if not paper.deleted]:
            paper = self.chance.choice(kept)
            body = {"kb_id": self.shelf, "doc_id": paper.id}
            await self.call("POST", "/api/rag/doc/delete", json=body, accepted={200, 404})
            paper.deleted = True
            self.tally["documents deleted"] += 1

    async def call(self, method: str, path: str, *, accepted: "set[int] | None" = None, **options: Any) -> Response:
        """The reply, from whoever gives one. Raises `TimeoutError`, and `AssertionError` for one that is no good."""
        headers = {"Idempotency-Key": uuid4().hex}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        async with asyncio.timeout(PATIENCE):
            while True:
                reply = await self._one_call(method, path, headers=headers, **options)
                if reply and reply.status_code not in TRY_AGAIN:
                    assert reply.status_code in (accepted or {200}), f"{path}: {reply.status_code} {reply.text}"
                    return reply
                await asyncio.sleep(PAUSE)

    async def _one_call(self, method: str, path: str, **options: Any) -> Response | None:
        url = self.chance.choice(self.urls)
        try:
            reply = await self.http.request(method, url + path, **options)
        except TransportError:
            self.tally["broken requests"] += 1
            return None
        if reply.status_code >= 400:
            self.tally[f"{reply.status_code} {reply.json()['code']}"] += 1
        return reply

    # What they find --------------------------------------------------------------------------------------------------

    async def audit(self) -> list[str]:
        """What is not as they were told."""
        lost = await self._conversations()
        for talk in self.talks:
            if not talk.deleted:
                lost += await self._messages(talk)
        return lost + await self._documents()

    async def _conversations(self) -> list[str]:
        found = {line["conversation_id"] for line in (await self.call("GET", "/api/conversations/list")).json()}
        expected = {talk.id for talk in self.talks if not talk.deleted}
        return [] if found == expected else [f"conversations {found ^ expected}"]

    async def _messages(self, talk: Talk) -> list[str]:
        messages = (await self.call("GET", f"/api/conversations/history/{talk.id}")).json()["messages"]
        if [message["message_id"] for message in messages] != list(range(1, 2 * len(talk.exchanges) + 1)):
            return [f"conversation {talk.id} has {len(messages)} messages for {len(talk.exchanges)} questions"]
        pairs = zip(talk.exchanges, messages[::2], messages[1::2], strict=True)
        return [
            f"answer to {reader.question} in {talk.id}: {answer} read {reader.text!r} {reader.failure!r}"
            for reader, question, answer in pairs
            if question["content"] != reader.question or not _agrees(reader, answer)
        ]

    async def _documents(self) -> list[str]:
        reply = await self.call("GET", "/api/rag/doc/list", params={"kb_id": self.shelf})
        listed = {document["doc_id"] for document in reply.json()["docs"]}
        expected = {paper.id for paper in self.papers if not paper.deleted}
        lost = [] if listed == expected else [f"documents {listed ^ expected}"]
        return lost + [f"paper {paper}" for paper in self.papers if await self._is_found(paper) is paper.deleted]

    async def _is_found(self, paper: Paper) -> bool:
        body = {"kb_id": self.shelf, "query": paper.word, "top_k": 3}
        found = (await self.call("POST", "/api/rag/retrieve", json=body)).json()["results"]
        return any(paper.word in passage["content"] for passage in found)


def _agrees(reader: Reader, answer: dict[str, Any]) -> bool:
    if reader.failure:
        return answer.get("state") == "incomplete" and answer["reason"] == reader.failure
    return "state" not in answer and answer["content"] == reader.full


@dataclass(slots=True, kw_only=True)
class Crowd:
    """`talkers` people who talk and `keepers` who keep documents, until `leave` is set."""

    urls: Sequence[str]
    http: AsyncClient
    model: str = "counts:tokens=20,delay=0.02"
    talkers: int = 6
    keepers: int = 2
    pause: float = 0.0
    """Seconds that each of them takes between one thing and the next."""
    seed: int = 1
    people: list[Person] = field(default_factory=list)
    tally: "Counter[str]" = field(default_factory=Counter)
    leave: asyncio.Event = field(default_factory=asyncio.Event)

    async def come(self) -> None:
        for number in range(self.talkers + self.keepers):
            chance = random.Random(self.seed + number)
            self.people.append(Person(self.urls, self.http, chance, self.tally))
        await asyncio.gather(*[person.settle() for person in self.people])

    async def stay(self) -> None:
        talking = [self._talk(person) for person in self.people[: self.talkers]]
        keeping = [self._keep(person) for person in self.people[self.talkers :]]
        async with asyncio.TaskGroup() as group:
            for work in (*talking, *keeping):
                group.create_task(work)

    async def audit(self) -> list[str]:
        lost = await asyncio.gather(*[person.audit() for person in self.people])
        return [each for found in lost for each in found]

    def repetitions(self) -> list[tuple[Reader, int]]:
        """Who was told how many characters twice. Raises `AssertionError` if an answer is not what the model says."""
        talks = [talk for person in self.people for talk in person.talks]
        readers = [reader for talk in talks for reader in talk.exchanges if not reader.failure]
        words = int(self.model.partition("tokens=")[2].partition(",")[0])
        found = []
        for reader in readers:
            expected = "".join(counted(reader.question, words))
            assert reader.full == expected
            if again := given_twice(reader.text, expected):
                found.append((reader, again))
        return found

    async def _talk(self, person: Person) -> None:
        while not self.leave.is_set():
            await person.talk(self.model)
            await asyncio.sleep(self.pause)

    async def _keep(self, person: Person) -> None:
        while not self.leave.is_set():
            await person.upload()
            if person.chance.random() < 0.5:
                await person.throw_away()
            await asyncio.sleep(self.pause)
