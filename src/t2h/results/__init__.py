"""Results: measured values, what they may be compared with, and their tables."""
