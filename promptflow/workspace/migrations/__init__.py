"""The revisions of the tables, oldest first; numbered, so that a program can tell an older store from a newer one."""

HEAD = "0005"
# Not Alembic's own name: another program's tables may live in the same PostgreSQL database.
VERSION_TABLE = "workspace_version"
