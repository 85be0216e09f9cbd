"""One file per kind of work a phase does."""
