"""The database: tables, migrations, and the transactions that everything else is made of."""
