"""What people read: means with intervals, tables."""
