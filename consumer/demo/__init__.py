"""``leasehold demo``: real processes on a real table, and a check that reads only what they wrote down."""
