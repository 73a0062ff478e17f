"""Sampling of responses: by the model in this process, or by vLLM with the weights synchronised."""
