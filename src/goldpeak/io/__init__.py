"""Readers, one file each: whatever is on disk becomes a table."""
