"""What a run owns: its connections, its directory, what it tells, and what it goes on without."""
