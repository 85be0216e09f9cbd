"""Kubewright: turns machines that answer SSH into a highly available Kubernetes cluster."""

__version__ = "0.1.0"
