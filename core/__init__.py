"""Shared by all packages: configuration, checks, errors, progress, versions."""
