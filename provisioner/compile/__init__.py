"""What the cluster should be: pure. Start at cluster.py (the whole) and host.py (the list of a host's parts)."""
