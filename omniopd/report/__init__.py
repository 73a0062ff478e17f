"""What people read: tables, comparisons with intervals, the report of a run."""
