"""Questions that only make sense after what was said before, put so that they can be searched for."""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from llm_backend.application.asking_apart import AskApart
from llm_backend.application.composing import ComposeRequest
from llm_backend.application.ports.chat_model import ChatRequest, ChatTurn
from llm_backend.domain.api_keys import Access
from llm_backend.domain.conversations import Message, Role, Thread
from llm_backend.domain.errors import DomainError
from llm_backend.domain.ids import ApiKeyId, ConversationId
from llm_backend.domain.usage import UsageKind

logger = logging.getLogger(__name__)

REMEMBERED = 6  # messages, the newest
LONGEST_EXCERPT = 800  # characters of each
LONGEST_REPLY = 8192  # characters; some models think aloud first
LONGEST_QUERY = 400

NOWHERE = ConversationId(0)  # of a conversation that the client keeps

INSTRUCTIONS = """\
Rewrite the user's last question as one search query that can be understood without the conversation: put in what \
words like "it", "that" or "there" refer to, and keep names, numbers and the language of the question. Do not answer \
it. Reply with the query alone, on one line."""

_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_AROUND = " \t\"'“”‘’「」`*"


@dataclass(frozen=True, slots=True)
class RewriteQuestion:
    """Let the conversation's own model say what a follow-up question is about.

    It is a help, and never a hindrance: what fails or takes too long gives None. `is_able` tells which models can.
    """

    compose: ComposeRequest
    ask: AskApart
    is_able: Callable[[str], bool] = lambda _: True
    patience: timedelta = timedelta(seconds=4)

    async def __call__(self, thread: Thread, question: str, *, key: ApiKeyId | None = None) -> str | None:
        """None also for the first question of a conversation, and when the question is good as it is. `key` is charged
        for it."""
        past = [message for message in thread.messages if message.text and message.role is not Role.SYSTEM]
        if not past or not self.is_able(thread.conversation.model):
            return None
        try:
            async with asyncio.timeout(self.patience.total_seconds()):
                request = self._request(thread, past[-REMEMBERED:], question)
                reply, _ = await self.ask(
                    Access(user=thread.conversation.owner, key=key),
                    UsageKind.ANSWER,
                    request,
                    conversation=thread.conversation.id or None,
                    longest=LONGEST_REPLY,
                )
        except (DomainError, TimeoutError) as error:
            logger.info("a question was not rewritten: %s", type(error).__name__)
            return None
        except Exception:
            logger.exception("a model failed unexpectedly at rewriting a question")
            return None
        query = _first_line(reply)
        return query if query and query != question.strip() else None

    def _request(self, thread: Thread, past: Sequence[Message], question: str) -> ChatRequest:
        said = "\n".join(f"{message.role.value}: {message.text[:LONGEST_EXCERPT]}" for message in past)
        return ChatRequest(
            model=thread.conversation.model,
            turns=[
                ChatTurn(role=Role.SYSTEM, text=INSTRUCTIONS),
                ChatTurn(role=Role.USER, text=f"{said}\n\nLast question: {question[:LONGEST_EXCERPT]}"),
            ],
            api_key=self.compose.api_key(thread.conversation),
        )


def _first_line(reply: str) -> str:
    lines = _THOUGHTS.sub("", reply).strip().splitlines()
    return lines[0].strip(_AROUND)[:LONGEST_QUERY] if lines else ""
