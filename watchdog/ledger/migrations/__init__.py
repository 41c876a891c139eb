"""Alembic's scripts: run once, at the first start of a version on a ledger of an older one."""
