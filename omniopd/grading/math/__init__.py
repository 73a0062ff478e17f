"""Mathematical answers: extracted from a response, and compared by value."""
