"""The builders of the package, at hand for our own tests."""

from llm_backend.testing.builders import (
    NOON,
    a_chunk,
    a_citation,
    a_conversation,
    a_document,
    a_key,
    a_knowledge_base,
    a_message,
    a_reply,
    a_session,
    a_source,
    a_turn,
    a_user,
    an_answer,
)

__all__ = [
    "NOON",
    "a_chunk",
    "a_citation",
    "a_conversation",
    "a_document",
    "a_key",
    "a_knowledge_base",
    "a_message",
    "a_reply",
    "a_session",
    "a_source",
    "a_turn",
    "a_user",
    "an_answer",
]
