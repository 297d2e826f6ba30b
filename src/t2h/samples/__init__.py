"""Samples: how images are drawn, stored, read and looked at."""
