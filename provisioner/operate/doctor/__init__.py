"""What ails a cluster that runs: judged from values that were seen, in the order in which it hurts its users."""
