"""Door: tools under the names that `promptflow-tools` gave them. What they do is in `promptflow.llm`."""
