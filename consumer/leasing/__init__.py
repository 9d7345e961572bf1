"""How workers share leases: decide in pure functions, write in one place."""
