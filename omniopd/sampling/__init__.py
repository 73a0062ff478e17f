"""Sampling of responses: by the model in this process, or by vLLM after a weight sync."""
