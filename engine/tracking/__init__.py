"""Runs in MLflow too: read from the store, sent by a process of its own.

`sending` brings MLflow up to what the store has; `mirror` is the process that does it again and
again. Training knows nothing of either: the store is the queue, and what could not be sent while
a server was away is sent when it is back.
"""
