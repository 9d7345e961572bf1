"""Several workers on one machine, a process each: started, watched, drained together, and seen as one."""
