"""Downstream use: what synthetic images are worth to a classifier of long-tailed data."""
