"""Batch endpoints: a model, a driver or a flow over all files of an input, in a job that survives whatever ends it."""
