"""Programs: found in a response, and run with their tests in a sandbox."""
