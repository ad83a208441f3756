"""Protocols of model clients: each turns a request into `Inputs`, and what a model says into an answer."""
