"""Causal language models: loading, generation, and the forward pass that scores a response."""
