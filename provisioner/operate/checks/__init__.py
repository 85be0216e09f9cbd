"""Is a machine fit for its roles? A table of checks, each a pure function of what was seen."""
