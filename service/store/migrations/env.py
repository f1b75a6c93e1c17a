"""Run by Alembic: migrates over the connection and in the transaction that ``upgrade`` hands it."""

from alembic import context

from service.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
context.run_migrations()
