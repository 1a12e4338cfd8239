"""Ours against the plain way and against well-known libraries, side by side in one run."""
