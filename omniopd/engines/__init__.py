"""What works on the student: rollouts, scoring, the trainer, its checkpoints, and the demo's models."""
