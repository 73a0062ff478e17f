"""Mathematical answers: found in a response, and compared by value."""
