"""How many threads torch works with: rounding depends on it, so it is a setting and not the machine's."""

import torch


def use_threads(num_threads: int) -> None:
    """Set torch's threads for operations started from the calling thread."""
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)
