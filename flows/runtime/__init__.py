"""How flows run: the server, processes, shards, logs, pages, and what happens when Prefect fails."""
