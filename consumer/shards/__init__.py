"""The life of one shard on one worker: reading ahead, delivering in order, checkpointing, stopping, ending."""
