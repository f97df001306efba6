"""The names things go by.

Integer ids are random, above 0 and below 2**53, so that every client can hold them exactly and nobody can
guess a neighbour's. Ids of knowledge bases, documents, files, batches and API keys are UUIDs in text form.
Those of usage are a UUID of the process and a number; nobody but the database sees them.
"""

from typing import NewType

UserId = NewType("UserId", int)
ConversationId = NewType("ConversationId", int)
AnswerId = NewType("AnswerId", int)
KnowledgeBaseId = NewType("KnowledgeBaseId", str)
DocumentId = NewType("DocumentId", str)
FileId = NewType("FileId", str)
FileBatchId = NewType("FileBatchId", str)
ApiKeyId = NewType("ApiKeyId", str)
ReindexingId = NewType("ReindexingId", str)
UsageId = NewType("UsageId", str)
WriterId = NewType("WriterId", str)  # of a process, from its start to its end

LARGEST_ID = 2**53 - 1
