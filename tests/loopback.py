"""Where the servers of the tests are asked."""

HOST = "127.0.0.1"


class Addressed:
    """A server on a port of loopback, and its addresses."""

    port: int

    @property
    def origin(self) -> str:
        """Where Anthropic's endpoints are asked for."""
        return f"http://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """Where OpenAI's endpoints are asked for."""
        return f"{self.origin}/v1"
