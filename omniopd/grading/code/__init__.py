"""Programs: extracted from a response, and run with their tests in a sandbox."""
