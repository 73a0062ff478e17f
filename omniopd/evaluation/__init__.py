"""What is measured: benchmarks on any model, and the student of a run before and after it."""
