"""Everything in the memory of one process: for tests, and for what need not outlive it."""
