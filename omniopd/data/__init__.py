"""Records, prompts and training rows, and the files that hold them."""
