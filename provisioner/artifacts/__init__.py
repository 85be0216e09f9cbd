"""The bytes that hosts run: catalogue, lock file, cache, and the ways to make them. Knows no host and no SSH."""
