"""What it is all worth: inventory record accuracy, variance, coverage, escape and net value, never netted."""
