"""Upgrades databases of older schema versions with Alembic. SQLite and PostgreSQL share revisions.

A revision file in `versions` has the number of the schema version that the revision makes:
`0005_baseline.py` makes version 5. The newest file defines the version of new databases.

Modules:
    revisions: the numbers of the revisions, and the version that a database stores.
    upgrade: upgrades a database in one transaction; the only module that imports Alembic.
    backups: copies of SQLite files, and the copy that is made before an upgrade.
    env: connects Alembic to the transaction of `upgrade`; only Alembic executes it.
    versions: the revisions.

Not here: the tables of a new database (`schema`), and the refusal of other databases
(`connection`). docs/architecture.md describes how to add a migration.
"""
