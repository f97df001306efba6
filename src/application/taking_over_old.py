"""Taking over the users and conversations of the old product."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from llm_backend.application.conversations import key_binding
from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.old_product import OldConversation, OldMessage, OldProduct, OldUser, Unreadable
from llm_backend.application.ports.secret_box import SecretBox
from llm_backend.application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from llm_backend.domain.conversations import (
    LONGEST_TITLE,
    Conversation,
    Message,
    Role,
    check_api_key,
    check_model,
)
from llm_backend.domain.errors import ConversationIdTaken, ConversationNotFound, Invalid, UsernameTaken
from llm_backend.domain.ids import LARGEST_ID, ConversationId, UserId
from llm_backend.domain.secrets import SealedSecret, Secret
from llm_backend.domain.users import PasswordHash, User, check_username

UNKNOWN_MODEL = "unknown"  # of conversations of which nobody knows it: they can be read, and not gone on with
UNTITLED = "Untitled"
_ROLES = {role.value: role for role in Role}


@dataclass(slots=True)
class Report:
    """What has been taken over, what was there already, and what is to be looked at by a person."""

    users: int = 0
    users_there: int = 0
    conversations: int = 0
    conversations_there: int = 0
    conversations_deleted: int = 0
    messages: int = 0
    api_keys: int = 0
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOverOld:
    """Take over everything that makes sense, and say what does not. May be cut off anywhere and started again.

    Ids stay what they are where they fit our rules and nobody has them; otherwise they become others, the same ones
    each time, by which what is there already is known. A name that somebody else has here is left alone, with all
    that belongs to it. What was taken over and then deleted here stays deleted. Passwords stay hashed as they are,
    and are hashed anew at the first login. A system message at the beginning has number 0, as it had there, so that
    all others keep their numbers. Messages have the time of their conversation, since the old product noted no
    other.
    """

    old: OldProduct
    transactions: UnitOfWorkFactory
    secrets: SecretBox
    now: Clock
    dry_run: bool = False

    async def __call__(self) -> AsyncIterator[Report]:
        """How far it has come, after each user and each conversation; with `dry_run` how far it would."""
        report, owners = Report(), dict[int, UserId]()
        async for user in self.old.users():
            if isinstance(user, Unreadable):
                _remark(report, user)
            elif owner := await self._take_user(user, report):
                owners[user.id] = owner
            yield report
        async for conversation in self.old.conversations():
            if isinstance(conversation, Unreadable):
                _remark(report, conversation)
            elif owned_by := owners.get(conversation.owner):
                await self._take_conversation(conversation, owned_by, report)
            else:
                _remark(report, Unreadable(f"conversation {conversation.id}", "its user was not taken over"))
            yield report

    async def _take_user(self, old: OldUser, report: Report) -> UserId | None:
        name = f"user {old.id} ({old.username!r})"
        if not _is_username(old.username):
            _remark(report, Unreadable(name, "the name does not fit the rules"))
            return None
        ids = [UserId(number) for number in _possible_ids("user", str(old.id))]
        async with self.transactions() as work:
            namesake = await work.users.named(old.username)
            if namesake is None:
                return await self._add_user(work, old, ids, report)
        if namesake.id in ids:
            report.users_there += 1
            return namesake.id
        _remark(report, Unreadable(name, "somebody else has this name here already"))
        return None

    async def _add_user(self, work: UnitOfWork, old: OldUser, ids: Sequence[UserId], report: Report) -> UserId | None:
        for user_id in ids:
            if await work.users.get(user_id) is None:
                return await self._add_user_as(user_id, work, old, report)
        _remark(report, Unreadable(f"user {old.id} ({old.username!r})", "all its ids are taken"))
        return None

    async def _add_user_as(self, user_id: UserId, work: UnitOfWork, old: OldUser, report: Report) -> UserId | None:
        user = User(id=user_id, username=old.username, password=PasswordHash(old.password), created_at=self.now())
        if not self.dry_run:
            try:
                await work.users.add(user)
                await work.commit()
            except UsernameTaken:  # or the id; just now
                _remark(report, Unreadable(f"user {old.id} ({old.username!r})", "somebody else took its name just now"))
                return None
        report.users += 1
        return user_id

    async def _take_conversation(self, old: OldConversation, owner: UserId, report: Report) -> None:
        ids = [ConversationId(number) for number in _possible_ids("conversation", old.id)]
        if await self._is_there(owner, ids):
            report.conversations_there += 1
            return
        if await self._is_deleted(ids):
            report.conversations_deleted += 1
            return
        for number in ids:
            if await self._add_conversation(old, owner, number, report):
                return
        _remark(report, Unreadable(f"conversation {old.id}", "all its ids are taken"))

    async def _is_there(self, owner: UserId, ids: Sequence[ConversationId]) -> bool:
        async with self.transactions() as work:
            for number in ids:
                try:
                    await work.conversations.get(owner, number)
                except ConversationNotFound:
                    continue
                await self._note(work, number)
                return True
        return False

    async def _note(self, work: UnitOfWork, number: ConversationId) -> None:
        """What came here when nobody noted that yet, too, is to stay deleted from now on."""
        if not self.dry_run and not await work.taken_over.has(number):
            await work.taken_over.note(number)
            await work.commit()

    async def _is_deleted(self, ids: Sequence[ConversationId]) -> bool:
        """Of what is not there: whether it was."""
        async with self.transactions() as work:
            return any([await work.taken_over.has(number) for number in ids])

    async def _add_conversation(
        self, old: OldConversation, owner: UserId, number: ConversationId, report: Report
    ) -> bool:
        """False when somebody else has that id."""
        at = old.created_at or self.now()
        remarks: list[Unreadable] = []
        messages = _messages(old, at, remarks)
        conversation = Conversation(
            id=number,
            owner=owner,
            title=_title(old.title),
            model=_model(old.model),
            api_key=self._sealed(old, owner, number, remarks),
            last_number=messages[-1].number if messages else 0,
            created_at=at,
        )
        if not self.dry_run and not await self._add(conversation, messages):
            return False
        report.conversations += 1
        report.messages += len(messages)
        report.api_keys += conversation.api_key is not None
        for remark in remarks:
            _remark(report, remark)
        return True

    async def _add(self, conversation: Conversation, messages: Sequence[Message]) -> bool:
        try:
            async with self.transactions() as work:
                await work.conversations.add(conversation, messages)
                await work.taken_over.note(conversation.id)
                await work.commit()
        except ConversationIdTaken:
            return False
        return True

    def _sealed(
        self, old: OldConversation, owner: UserId, number: ConversationId, remarks: list[Unreadable]
    ) -> SealedSecret | None:
        if old.api_key is None or not _is_key(old.api_key):
            if old.api_key is not None:
                remarks.append(Unreadable(f"conversation {old.id}", "its API key is none, and was left out"))
            return None
        return self.secrets.seal(old.api_key, bound_to=key_binding(owner, number))


def _remark(report: Report, unreadable: Unreadable) -> None:
    report.remarks.append(f"{unreadable.what}: {unreadable.why}")


def _possible_ids(kind: str, old: str) -> Iterator[int]:
    """Its own, if it fits; and one that is made of it, always the same, and as hard to guess as that was."""
    if old.isascii() and old.isdecimal() and len(old) <= len(str(LARGEST_ID)) and 0 < int(old) <= LARGEST_ID:
        yield int(old)
    digest = sha256(f"{kind} {old} of the old product".encode("utf-8", "surrogatepass")).digest()
    yield int.from_bytes(digest[:8]) % LARGEST_ID + 1


def _messages(old: OldConversation, at: datetime, remarks: list[Unreadable]) -> list[Message]:
    messages: list[Message] = []
    number = 0 if old.messages and old.messages[0].role == Role.SYSTEM.value else 1
    for place, message in enumerate(old.messages, start=1):
        role = _ROLES.get(message.role)
        if role is None:
            why = f"its message {place} is of {message.role[:40]!r}, and was left out"
            remarks.append(Unreadable(f"conversation {old.id}", why))
            continue
        messages.append(_message(message, role, number, old, at))
        number += 1
    return messages


def _message(message: OldMessage, role: Role, number: int, old: OldConversation, at: datetime) -> Message:
    model = _model(old.model) if role is Role.ASSISTANT else None
    return Message(number=number, role=role, text=_storable(message.text), model=model, created_at=at)


def _storable(text: str) -> str:
    """Without what no database takes."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _title(title: str) -> str:
    kept = _storable(title)[:LONGEST_TITLE]
    return kept if kept.strip() else UNTITLED


def _model(model: str | None) -> str:
    try:
        check_model(model or "")
    except Invalid:
        return UNKNOWN_MODEL
    return model or UNKNOWN_MODEL


def _is_username(name: str) -> bool:
    try:
        check_username(name)
    except Invalid:
        return False
    return True


def _is_key(key: Secret) -> bool:
    try:
        check_api_key(key.reveal())
    except Invalid:
        return False
    return True
