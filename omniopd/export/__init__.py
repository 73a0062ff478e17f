"""A run as folders that others can use: its model and its data, each with a card, and both on the hub."""
