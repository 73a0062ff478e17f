"""Checks and estimates before a run: settings, prompts, models, teacher cost, memory and disk."""
