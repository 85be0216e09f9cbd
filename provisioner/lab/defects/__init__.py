"""Machines as one really gets them: a table of what may be wrong with one, each done to a lab node and undone."""
