"""Everything that is said before work starts: checks, plans, memory and disk."""
