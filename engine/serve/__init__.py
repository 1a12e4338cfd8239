"""The model server: colorizes images over HTTP.

Modules:
    app: the FastAPI application.
    routes: the endpoints.
    server: the server process.
    service: the models and limits that all requests share.
    ranking: selects the best run.
    model_cache: loaded generators.
    pipeline: one request from its bytes to the answer's bytes.
    line_art: detects line art and extracts lines.
    compositing: fits images into the model's square and back.
    batching: answers several requests with one model call.
    limits: body size, timeout, queue length, API token.
    prometheus: metrics of the server.
    discovery: where the running server can be reached.
    client: an HTTP client for pages and scripts.
    model_export: exports a generator as safetensors, TorchScript or ONNX.

Not here: training. Only `model_cache`, `model_export` and their importers load torch.
"""
