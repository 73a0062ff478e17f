"""The number of torch's threads: a setting, since rounding depends on it."""

import torch


def use_threads(num_threads: int) -> None:
    """Set torch's threads for operations started from the calling thread."""
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)
