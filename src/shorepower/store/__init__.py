"""The server's memory: a contract, and SQLite behind it."""
