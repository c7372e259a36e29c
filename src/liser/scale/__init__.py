"""Many items of work on many workers: one queue, in this process, in local processes, or on Ray."""
