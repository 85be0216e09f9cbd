"""Inventories of other tools as machines of a first cluster.yaml: what is understood, and what was left out. Pure."""
