"""A flow as a folder that can be served anywhere: `pf flow build`."""
