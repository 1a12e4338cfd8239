"""The model server: colorizes pictures over HTTP.

Modules:
    app: the FastAPI application and its endpoints.
    auth: access by bearer token, or from this machine only.
    server: the server process.
    service: the models and limits that all requests share.
    ranking: ranks the models of a study.
    model_cache: loads generators and keeps them in memory.
    pipeline: decodes, prepares and encodes one picture.
    line_art: detects and extracts line art.
    compositing: fits a picture into the model's square, and the model's output to the picture.
    batching: computes several requests in one call of a model.
    limits: limits body size, upload time and concurrent requests.
    prometheus: metrics of the server.
    discovery: address and lock of the running server.
    client: an HTTP client for pages and scripts.
    model_export: exports a generator as safetensors, TorchScript or ONNX.

Not here: training. Only `model_cache`, `model_export` and their importers load torch.
"""
