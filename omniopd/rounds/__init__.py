"""One round of a run: roll out, schedule, verify, train, validate. Paths in, paths out; finished work is skipped."""
