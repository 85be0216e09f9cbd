"""What runs on the hosts: observe, apply, store, probe. Standard library only; knows nothing of Kubernetes."""
