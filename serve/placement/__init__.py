"""Instances elsewhere than beside the gateway: on Ray nodes, and as folders for containers and Kubernetes."""
