"""Between a shard and user code: where it runs, and what happens when it fails."""
