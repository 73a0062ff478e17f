"""The methods: each says whose text it trains on, what it needs, and how a row becomes a loss."""

from omniopd.methods.base import Annotated, Audit, Method, Need, Plan, Reading, Stopping
from omniopd.methods.fork import Fork
from omniopd.methods.grpo import GRPO
from omniopd.methods.omniopd import OmniOPD
from omniopd.methods.opd import OPD
from omniopd.methods.sft import SFT

__all__ = [
    "GRPO",
    "OPD",
    "SFT",
    "Annotated",
    "Audit",
    "Fork",
    "Method",
    "Need",
    "OmniOPD",
    "Plan",
    "Reading",
    "Stopping",
]
