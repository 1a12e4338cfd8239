"""Where a claimed job's process runs: on this machine, or on one of a Ray cluster.

`protocol` says what a launcher does, `local` and `ray_jobs` do it, `choosing` picks one. Whichever
it is, the database is the truth: a process records its own end, and a launcher is only asked about
those that could not.
"""
