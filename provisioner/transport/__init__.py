"""The only place that knows SSH: pinned host keys, commands, streams, tunnels, and many hosts at once."""
