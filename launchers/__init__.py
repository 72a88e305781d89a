"""Starts the workers that train together, on this machine or on a cluster, and follows them to their end."""
