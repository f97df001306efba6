"""Run by alembic, with the connection that `migrating` hands over."""

from alembic import context

from llm_backend.infrastructure.sql.rows import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes tables by copying them
)
context.run_migrations()
