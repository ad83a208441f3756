"""Door: Microsoft's spelling of the application that serves a flow."""
