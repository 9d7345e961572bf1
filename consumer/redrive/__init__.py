"""A redrive: letters of a store through a processor once more. ``leasehold dlq redrive`` is its command.

``redrive`` goes through the letters key by key; ``in_hand`` gives those of one key to the delivery that a worker has
(``delivery.one_lane``), so that attempts, pauses and time limits mean here what they mean there.
"""
