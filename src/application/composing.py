"""What a model is asked: a conversation, its question, and what the answer shall rest on."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.application.conversations import key_binding
from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, ChatTurn
from llm_backend.application.ports.secret_box import SecretBox, SecretUnreadable
from llm_backend.domain.conversations import Conversation, Message, Role
from llm_backend.domain.errors import ApiKeyUnreadable
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.secrets import Secret
from llm_backend.domain.window import estimated_tokens, fitting

RECALLED_MESSAGES = 200  # how far back a prompt reaches at most, whatever the model's window


@dataclass(frozen=True, slots=True)
class ComposeRequest:
    """As much of a conversation as fits into the model's window, with the user's own key, if there is one."""

    model: ChatModel
    secrets: SecretBox

    def __call__(
        self, conversation: Conversation, past: Sequence[Message], question: Message, grounding: Grounding | None
    ) -> ChatRequest:
        """Raises `UnknownModel`, `ApiKeyRequired`, `ApiKeyUnreadable` or `MessageTooLong`."""
        self.model.check(conversation.model, own_key=conversation.api_key is not None)
        instructions = [ChatTurn(role=Role.SYSTEM, text=grounding.instructions)] if grounding else []
        taken = sum(estimated_tokens(turn.text) for turn in instructions)
        messages = fitting(past, question, window=self.model.window(conversation.model), taken=taken)
        turns = [*instructions, *(ChatTurn(role=message.role, text=message.text) for message in messages)]
        return ChatRequest(model=conversation.model, turns=turns, api_key=self.api_key(conversation))

    def api_key(self, conversation: Conversation) -> Secret | None:
        """The user's own, if there is one. Raises `ApiKeyUnreadable`."""
        if conversation.api_key is None:
            return None
        try:
            return self.secrets.open(conversation.api_key, bound_to=key_binding(conversation.owner, conversation.id))
        except SecretUnreadable as error:
            raise ApiKeyUnreadable from error
