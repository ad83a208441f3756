"""Instances elsewhere than beside the gateway: as folders for containers and Kubernetes."""
