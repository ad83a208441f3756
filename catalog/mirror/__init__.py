"""A hub of one's own: the models of this machine and of its workspace, by the Hugging Face Hub's HTTP contract."""
