"""Availability, measured from the hosts while a run changes the cluster."""
