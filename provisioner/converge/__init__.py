"""The only place that knows Ansible: bundles of changes, and the runs that carry them to the hosts."""
