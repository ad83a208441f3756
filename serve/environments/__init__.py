"""The environments of deployments: from the conda and pip files that people have to a venv, one for each content."""
