"""Chromabench's pages. They insert and read rows; whatever is heavy is a job elsewhere.

`app` is the navigation, `reads` what pages may read, `actions` what they may do; no other file
here knows the store, and nothing here loads torch.
"""
