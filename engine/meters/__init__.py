"""What watches a generator at work: meters that take batch after batch and then say their values.

One pass over the pictures feeds them all; each keeps a row per picture and nothing larger. What
has no honest value is not a number but the reason why.
"""
