"""The parts of `benchmarks.training_speed`: contenders, turns, data, rates, and the arithmetic floor."""
