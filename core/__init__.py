"""What every other package may use: configuration, checks, errors, progress, versions."""
