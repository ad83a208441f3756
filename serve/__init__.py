"""Serving: engines that run models, and what stands before them."""
