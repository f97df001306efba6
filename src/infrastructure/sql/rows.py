"""The tables. Nothing outside this package knows them.

Plain SQLAlchemy: importing any module of advanced-alchemy imports Litestar wherever that is installed, and a program
that embeds this package must not pay for a web framework.

Order goes by `sequence`, which the database hands out, never by time: clocks jump.

Long because: it is all tables there are, which refer to each other.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    and_,
    case,
    false,
    literal_column,
    or_,
    true,
)

from llm_backend.infrastructure.sql.dialects import Serial, UtcTime

# Constraints need names to be changed by later migrations.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A bound parameter would hide from the planner that a partial index serves the query.
RUNNING = literal_column("'running'", Text)
PENDING = literal_column("'pending'", Text)
READY = literal_column("'ready'", Text)
FAILED = literal_column("'failed'", Text)
DELETED = literal_column("'deleted'", Text)

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("username", Text, nullable=False, unique=True),
    Column("password", Text, nullable=False),
    Column("token_version", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("until", UtcTime, nullable=False, index=True),
)

# A key is a row that is found by the hash of the key. `scopes` are separated by blanks; none are all.
api_keys = Table(
    "api_keys",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("last_used_at", UtcTime),
    Index(None, "owner", "sequence"),
    sqlite_autoincrement=True,
)

# `key_id` and `conversation_id` may be of what is gone. `cost` is in billionths of whatever prices are in. Rows from
# before there was an `id` have none.
usage = Table(
    "usage",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("id", Text, index=True, unique=True),
    Column("owner", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("day", Text, nullable=False),  # in UTC; databases differ in how they tell the day of a moment
    Column("kind", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("is_estimated", Boolean, nullable=False),
    Column("cost", BigInteger),
    Column("key_id", Text),
    Column("conversation_id", BigInteger),
    Index(None, "owner", "at"),
    sqlite_autoincrement=True,
)

conversations = Table(
    "conversations",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("id", BigInteger, nullable=False, unique=True),
    Column("owner", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("title", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("api_key_id", Text),
    Column("api_key", LargeBinary),
    Column("last_number", Integer, nullable=False),
    Column("listed", Boolean, nullable=False, server_default=true()),
    Column("metadata", Text),
    Column("created_at", UtcTime, nullable=False),
    Index(None, "owner", "sequence"),
    sqlite_autoincrement=True,
)

messages = Table(
    "messages",
    metadata,
    Column("conversation_id", BigInteger, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("role", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("model", Text),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("citations", Text),
    Column("seams", Text),
    Column("content", Text),  # `items`, if there are any
    Column("created_at", UtcTime, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("conversation_id", BigInteger, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("writer", Text),  # the process that holds it; nobody, once that has let go of it
    Column("takeovers", Integer, nullable=False, server_default="0"),
    Column("stop_wanted", Boolean, nullable=False, server_default=false()),
    Column("grounding", Text),  # what of its prompt is not in the conversation
    Column("key_id", Text),  # which is charged, also by another process
    UniqueConstraint("conversation_id", "number"),
)
Index(
    "ix_answers_held",
    answers.c.writer,
    sqlite_where=answers.c.state == RUNNING,
    postgresql_where=answers.c.state == RUNNING,
)
Index(
    "uq_answers_running",
    answers.c.conversation_id,
    unique=True,
    sqlite_where=answers.c.state == RUNNING,
    postgresql_where=answers.c.state == RUNNING,
)

# Answers that can be built upon by their ids. What is said in them is in messages, like all that is said.
responses = Table(
    "responses",
    metadata,
    Column(
        "answer_id", BigInteger, ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    Column("previous", BigInteger),
    Column("request", Text, nullable=False),
)

# What `info` says of a table whose rows mean processes, and so nothing in another database.
OF_PROCESSES = "of_processes"

# Processes that write answers, with a count that rises for as long as they live.
writers = Table(
    "writers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("beat", BigInteger, nullable=False),
    info={OF_PROCESSES: True},
)

# One row for each checkpoint: the events numbered `first` to `last`.
answer_events = Table(
    "answer_events",
    metadata,
    Column("answer_id", BigInteger, ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

# `owner` may be nobody. What came of a turn goes with its answer.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("owner", BigInteger, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("answer_id", BigInteger, ForeignKey("answers.id", ondelete="CASCADE"), index=True),
    Column("created_at", UtcTime, nullable=False, index=True),
)

knowledge_bases = Table(
    "knowledge_bases",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("embedding_model", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Index(None, "owner", "sequence"),
    sqlite_autoincrement=True,
)

# A tombstone outlives its knowledge base.
documents = Table(
    "documents",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("knowledge_base_id", Text, ForeignKey("knowledge_bases.id", ondelete="SET NULL")),
    Column("owner", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("file_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("reason", Text),
    Column("attributes", Text),
    Column("replaces", Boolean, nullable=False, server_default=false()),
    Column("readable_attempt", Integer),
    Index(None, "owner", "created_at", "id"),
    Index(None, "knowledge_base_id", "sequence"),
    Index(None, "knowledge_base_id", "state", "sequence"),
    Index(None, "knowledge_base_id", "name"),
    Index(None, "state", "id"),
    sqlite_autoincrement=True,
)

IS_READABLE = and_(documents.c.state == PENDING, documents.c.readable_attempt.is_not(None))
IS_FINDABLE = or_(documents.c.state == READY, IS_READABLE)
FOUND_ATTEMPT = case((documents.c.state == READY, documents.c.attempt), else_=documents.c.readable_attempt)

# Apart from `documents`, so that lists stay light, and in parts of `TEXT_PART` characters, so that a quotation from the
# end of a long text does not read all of it (40 ms for 10 MB).
document_texts = Table(
    "document_texts",
    metadata,
    Column("document_id", Text, ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
)
TEXT_PART = 32_768

# In parts of `BLOCKS_PART` blocks, each of which knows what stretch of the text it covers: as rows of their own, the
# blocks of a long table would be 50,000, each with the same headings.
document_blocks = Table(
    "document_blocks",
    metadata,
    Column("document_id", Text, ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("blocks", Text, nullable=False),
)
BLOCKS_PART = 1000

chunks = Table(
    "chunks",
    metadata,
    Column("document_id", Text, ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("headings", Text),
    Column("page", Integer),
    Column("sheet", Text),
    Column("search_text", Text, nullable=False),
)

# A row comes before anything of the document is put into the index of that space, and goes after it has been taken out.
# `complete`: the index has all of it.
embeddings = Table(
    "embeddings",
    metadata,
    Column("document_id", Text, ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Column("embedding_model", Text, primary_key=True),
    Column("dimensions", Integer, primary_key=True, autoincrement=False),
    Column("complete", Boolean, nullable=False),
    Column("statistics", LargeBinary),
    Index(None, "embedding_model", "dimensions", "document_id"),
)

# The position comes second in the key, so that a chunk that is deleted finds its vectors at once.
vectors = Table(
    "vectors",
    metadata,
    Column("document_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("embedding_model", Text, primary_key=True),
    Column("dimensions", Integer, primary_key=True, autoincrement=False),
    Column("vector", LargeBinary, nullable=False),
    ForeignKeyConstraint(["document_id", "position"], ["chunks.document_id", "chunks.position"], ondelete="CASCADE"),
    ForeignKeyConstraint(
        ["document_id", "embedding_model", "dimensions"],
        ["embeddings.document_id", "embeddings.embedding_model", "embeddings.dimensions"],
        name="fk_vectors_embeddings",
        ondelete="CASCADE",
    ),
)

# Moves of knowledge bases from one space to another, newest last.
reindexings = Table(
    "reindexings",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("knowledge_base_id", Text, ForeignKey("knowledge_bases.id", ondelete="CASCADE"), nullable=False),
    Column("source_model", Text, nullable=False),
    Column("source_dimensions", Integer, nullable=False),
    Column("target_model", Text, nullable=False),
    Column("target_dimensions", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Index(None, "knowledge_base_id", "sequence"),
    sqlite_autoincrement=True,
)
Index(
    "uq_reindexings_running",
    reindexings.c.knowledge_base_id,
    unique=True,
    sqlite_where=reindexings.c.state == RUNNING,
    postgresql_where=reindexings.c.state == RUNNING,
)

# Files by themselves: their content is kept elsewhere.
files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Index(None, "owner", "created_at", "id"),
    Index(None, "expires_at"),
)

# Which documents files have become. A document without a row here is a file of its own.
file_attachments = Table(
    "file_attachments",
    metadata,
    Column("document_id", Text, ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Column("file_id", Text, ForeignKey("files.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("longest", Integer),  # both in tokens, or nothing
    Column("overlap", Integer),
)

# What owners have noted down about knowledge bases; without a row, nothing.
vector_stores = Table(
    "vector_stores",
    metadata,
    Column("knowledge_base_id", Text, ForeignKey("knowledge_bases.id", ondelete="CASCADE"), primary_key=True),
    Column("metadata", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("expires_after", BigInteger, index=True),  # seconds
    Column("last_active_at", UtcTime, nullable=False),
)

file_batches = Table(
    "file_batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("knowledge_base_id", Text, ForeignKey("knowledge_bases.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UtcTime, nullable=False),
    Column("is_cancelled", Boolean, nullable=False),
)

file_batch_documents = Table(
    "file_batch_documents",
    metadata,
    Column("batch_id", Text, ForeignKey("file_batches.id", ondelete="CASCADE"), primary_key=True),
    Column("document_id", Text, ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True, index=True),
)

# Where deleted things were in lists: a `sequence`, or, where these go by time, when they were made. `id` is what they
# were listed by. A file had a place in each vector store that it was in, and one among the files. The housekeeper
# writes down when it has come across a row, as those who delete do not know the time.
deleted_places = Table(
    "deleted_places",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("owner", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("knowledge_base_id", Text),
    Column("place", BigInteger),
    Column("made_at", UtcTime),
    Column("noticed_at", UtcTime, index=True),
    Index(None, "owner", "kind", "id"),
    sqlite_autoincrement=True,
)

# Conversations that came from the old product. They are noted for good, and may have been deleted.
taken_over = Table(
    "taken_over",
    metadata,
    Column("conversation_id", BigInteger, primary_key=True, autoincrement=False),
)

# Work to do, of whatever kind; no row, no job. Whoever has seen `version` stand still for `patience` milliseconds may
# take the job.
jobs = Table(
    "jobs",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("rank", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("patience", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("holder", Text),
    Column("cancelled", Boolean, nullable=False),
    Column("step", Text),
    Column("percent", Integer, nullable=False),
    Index(None, "patience", "rank", "sequence"),
    sqlite_autoincrement=True,
)
