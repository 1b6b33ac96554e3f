"""Makes the database that Kamailio's registrar wants, of the tables that its package describes: `tables.py FILE`."""

import sqlite3
import sys
from pathlib import Path

TABLES = Path("/usr/share/kamailio/db_sqlite")

with sqlite3.connect(sys.argv[1]) as database:
    for name in ("standard", "usrloc"):
        database.executescript((TABLES / f"{name}-create.sql").read_text(encoding="utf-8"))
