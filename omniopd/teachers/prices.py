"""The prices of a teacher's tokens."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """US dollars per token: of the prompt, of its parts read from or written to the provider's cache, and of replies.

    >>> prices = Prices(input=1e-6, cached_input=1e-7, cache_write=1.25e-6, output=5e-6)
    >>> prices.cost(prompt_tokens=100, cached_tokens=0, written_tokens=0, completion_tokens=20)
    0.0002
    """

    input: float = 0.0
    cached_input: float = 0.0
    cache_write: float = 0.0
    output: float = 0.0

    def cost(
        self, *, prompt_tokens: float, cached_tokens: float, written_tokens: float, completion_tokens: float
    ) -> float:
        """Dollars for a call; cached_tokens and written_tokens are among prompt_tokens."""
        fresh = prompt_tokens - cached_tokens - written_tokens
        return (
            fresh * self.input
            + cached_tokens * self.cached_input
            + written_tokens * self.cache_write
            + completion_tokens * self.output
        )
