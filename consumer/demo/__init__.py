"""``leasehold demo``: real processes on a real table and a stream that rotates and splits, and a check that reads only
what the writer and the processors wrote down.
"""
