"""Alembic's entry: run the revisions on the connection that `voxplane.server.database` hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    version_table_schema="voxplane",
)
with context.begin_transaction():
    context.run_migrations()
