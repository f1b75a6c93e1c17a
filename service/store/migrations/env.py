"""Alembic's entry point: migrate over the connection, and in the transaction, that ``migrations.upgrade`` passes."""

from alembic import context

from service.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
context.run_migrations()
