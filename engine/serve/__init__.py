"""The model server: pictures in, coloured pictures out, over HTTP.

Reading order: `choosing` which run is best; `kinds`, `framing`, what is done to a picture before
and after a model; `models`, what runs; `batching`, many requests in one call; `answering`, a
request from its bytes to the answer's; `app`, the routes; `server`, the process; `client`, for
those who ask it; `portable`, a model as a file for elsewhere. Only `models`, `portable` and what
imports them load torch.
"""
