"""Benchmarks: methods x data sets x imbalances x seeds, with equal images seen and paired seeds."""
