"""Stress tests with real processes: kills, stops and concurrent access.

`make chaos` runs all of them for a quarter of an hour and prints figures. `test_smoke` runs a few
of them with the other tests.
"""
