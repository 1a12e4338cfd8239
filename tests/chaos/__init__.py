"""Proof by force: kills, stops and crowds, and what is left after them.

`make chaos` runs all of it, a quarter of an hour or so, and prints figures; `test_dose` runs a
little of it with the other tests.
"""
