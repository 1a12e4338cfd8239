"""Checks the packages of optional features (extras), and names the command that installs them."""

from importlib.util import find_spec

from engine.errors import BadInputError
from engine.settings import DISTRIBUTION, IS_CHECKOUT

# Extra of pyproject.toml -> the modules that the code imports only if the feature is used.
MODULES = {
    "auth": ("authlib", "httpx"),
    "cluster": ("ray",),
    "dev": ("torchmetrics",),
    "fetch": ("kagglehub",),
    "mlflow": ("mlflow",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "postgresql": ("psycopg",),
}


def install_command(extra: str) -> str:
    """Returns the command that installs an extra; in a checkout, for the project's folder."""
    target = f'-e ".[{extra}]"' if IS_CHECKOUT else f'"{DISTRIBUTION}[{extra}]"'
    return f"pip install {target}"


def find_missing_module(extra: str) -> str | None:
    """Returns the first module of an extra that is not installed; None if none is missing."""
    return next((name for name in MODULES[extra] if find_spec(name) is None), None)


def missing_message(extra: str, feature: str) -> str | None:
    """Returns the sentence about a missing extra, with its command; None if none is missing.

    Args:
        extra: a key of `MODULES`.
        feature: what needs the extra; begins the sentence.
    """
    module = find_missing_module(extra)
    if module is None:
        return None
    return (
        f"{feature} needs the package {module}, which is not installed: `{install_command(extra)}`."
    )


def require(extra: str, feature: str) -> None:
    """Raises `BadInputError` with that sentence if a module of an extra is not installed."""
    message = missing_message(extra, feature)
    if message is not None:
        raise BadInputError(message)
