"""Conversations: create, list, read, delete."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.secret_box import SecretBox
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.views import ConversationViews
from llm_backend.domain.conversations import (
    Conversation,
    ConversationSummary,
    Role,
    Thread,
    check_api_key,
    check_model,
    check_title,
)
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.domain.secrets import SealedSecret, Secret


def key_binding(owner: UserId, conversation: ConversationId) -> str:
    """What a conversation's API key is sealed to: copied to another row, it does not open."""
    return f"api_key of conversation {conversation} of user {owner}"


@dataclass(frozen=True, slots=True)
class CreateConversation:
    """Begin a conversation with a model."""

    transactions: UnitOfWorkFactory
    model: ChatModel
    secrets: SecretBox
    ids: IdSource
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        title: str,
        model: str,
        api_key: Secret | None = None,
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> Conversation:
        """The same key gives the same conversation. `api_key` is the user's own, for this model; it is kept sealed.

        Raises `InvalidTitle`, `UnknownModel`, `InvalidApiKey`, `ApiKeyRequired`, `IdempotencyMismatch`, or
        `ConversationNotFound` when the key's conversation has been deleted.
        """
        check_title(title)
        check_model(model)
        if api_key:
            check_api_key(api_key.reveal())
        self.model.check(model, own_key=api_key is not None)
        conversation_id = ConversationId(self.ids.number())
        conversation = Conversation(
            id=conversation_id,
            owner=owner,
            title=title,
            model=model,
            api_key=self._sealed(api_key, owner, conversation_id),
            created_at=self.now(),
        )
        try:
            return await self._add(conversation, idempotency)
        except AlreadyRecorded:
            return await self._add(conversation, idempotency)  # finds what the faster one made

    async def _add(self, conversation: Conversation, idempotency: IdempotencyKey | None) -> Conversation:
        async with self.transactions() as work:
            if idempotency and (made := await work.idempotency.outcome(conversation.owner, idempotency)):
                return await work.conversations.get(conversation.owner, ConversationId(int(made)))
            await work.conversations.add(conversation)
            if idempotency:
                await work.idempotency.record(
                    conversation.owner, idempotency, str(conversation.id), at=conversation.created_at
                )
            await work.commit()
        return conversation

    def _sealed(self, key: Secret | None, owner: UserId, conversation: ConversationId) -> SealedSecret | None:
        return self.secrets.seal(key, bound_to=key_binding(owner, conversation)) if key else None


@dataclass(frozen=True, slots=True)
class ListConversations:
    """The user's conversations, newest first."""

    views: ConversationViews

    async def __call__(
        self, owner: UserId, *, limit: int | None = None, before: ConversationId | None = None
    ) -> Sequence[ConversationSummary]:
        """At most `limit`, or all; those made before `before`, which may have been deleted. Raises `CursorNotFound`
        when that never was."""
        return await self.views.summaries(owner, limit=limit, before=before)


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """A conversation with all that was said; system messages are not part of what is said."""

    views: ConversationViews

    async def __call__(self, owner: UserId, conversation: ConversationId) -> Thread:
        """Oldest first. Raises `ConversationNotFound`."""
        thread = await self.views.thread(owner, conversation)
        said = [message for message in thread.messages if message.role is not Role.SYSTEM and not message.is_removed]
        return Thread(conversation=thread.conversation, messages=said)


@dataclass(frozen=True, slots=True)
class DeleteConversation:
    """Delete a conversation and all that was said; an answer that is being written there is given up."""

    transactions: UnitOfWorkFactory
    runner: AnswerRunner

    async def __call__(self, owner: UserId, conversation: ConversationId) -> None:
        """Raises `ConversationNotFound`."""
        async with self.transactions() as work:
            await work.conversations.remove(owner, conversation)
            await work.commit()
        await self.runner.abandon(conversation)
