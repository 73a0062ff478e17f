"""The methods: each says whose text it trains on, what it needs, and how a row becomes a loss."""

from omniopd.methods.base import Annotated, Audit, Method, TokenScores
from omniopd.methods.omniopd import OmniOPD

__all__ = ["Annotated", "Audit", "Method", "OmniOPD", "TokenScores"]
