"""Training: the optimiser step, checkpoints, several processes, and the models of the demo."""
