"""The command ``leasehold``: one file a subcommand."""
