"""One run at a time: who may change the cluster."""
