"""WHAT: frozen values that every layer shares. No I/O, no knowledge of SSH, Ansible or Kubernetes clients."""
