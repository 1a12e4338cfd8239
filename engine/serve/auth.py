"""Access control of the model server: a bearer token, or this machine only."""

import ipaddress
import secrets

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.errors import BadInputError

LOOPBACK_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
PUBLIC_PATHS = ("/healthz", "/readyz")


def require_token_beyond_loopback(host: str, token: str | None) -> None:
    """Raises `BadInputError` if other machines can reach the host and there is no token.

    Raises:
        BadInputError: other machines can reach the host and there is no token, or the host is not
            an IP address.
    """
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise BadInputError(
            f"--host must be an IP address such as 127.0.0.1 or 0.0.0.0, not {host[:60]!r}."
        ) from error
    if not is_loopback and token is None:
        raise BadInputError(
            f"A server that other machines can reach ({host}) needs a token: set "
            "CHROMABENCH_SERVER_TOKEN to a long random text."
        )


def build_access_middleware(token: str | None, host: str) -> Middleware:
    """Builds the middleware that decides which requests are answered.

    Without a token, only requests to the server's own host names are answered. Otherwise a web page
    of another origin could reach the server under a host name that resolves to this machine (DNS
    rebinding).
    """
    if token is not None:
        return Middleware(BearerAuthMiddleware, token=token)
    return Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK_HOSTS, host])


class BearerAuthMiddleware:
    """Middleware that answers 401 to a request without the token, except for health checks."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Compares the request's token with the expected one in constant time."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            authorization = dict(scope["headers"]).get(b"authorization", b"")
            if not secrets.compare_digest(authorization, self.expected):
                headers = [(b"www-authenticate", b"Bearer"), (b"content-type", b"application/json")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                body = b'{"detail":"This server needs a token: Authorization: Bearer TOKEN."}'
                await send({"type": "http.response.body", "body": body})
                return
        await self.app(scope, receive, send)
