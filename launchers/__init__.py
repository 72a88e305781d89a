"""Starts the workers that train together, on this machine or on a cluster, and monitors them until they finish."""
