"""Online endpoints: their records, YAML and store. Who runs and who proxies them is elsewhere."""
