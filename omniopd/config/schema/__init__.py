"""The settings that params.yaml may hold, block by block, and the settings of one run."""
