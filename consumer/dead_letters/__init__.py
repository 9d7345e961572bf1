"""Dead letters: records that were given up on, kept whole in a store that can be listed, redriven and emptied."""
