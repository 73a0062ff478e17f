"""What the runs of a seed share: their prompts and models."""
