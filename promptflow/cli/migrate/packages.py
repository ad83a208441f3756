"""What is known of other packages: those that only work in Azure, and what to install for an import."""

from __future__ import annotations

import re

_LOCAL_CLIENT = "use promptflow.client.PFClient: it keeps runs and connections in your own workspace"

# module -> (what is wrong, what to do)
CLOUD_ONLY = {
    "promptflow._cli._pf_azure": ("pfazure talks to an Azure ML workspace", "use pf"),
    "pfazure": ("pfazure talks to an Azure ML workspace", _LOCAL_CLIENT),
    "promptflow.rag": (
        "promptflow-rag builds indexes in Azure ML",
        "build the index with pf index create",
    ),
    "promptflow_vectordb": (
        "promptflow-vectordb is a closed package for Azure ML",
        "make the index again with pf index create; the Index Lookup, Vector Index Lookup and Faiss Index Lookup tools "
        "then take its name",
    ),
    "promptflow.parallel": ("promptflow-parallel is the driver of Azure ML parallel jobs", "use pf run create"),
}

# Doors that answer here, but mean something else than they did.
CHANGED = {"promptflow.azure": ("the cloud client works on the local workspace here", _LOCAL_CLIENT)}

# Tools of packages that are no more, by prefix of the tool id.
CLOUD_TOOLS = {
    "promptflow_vectordb.": CLOUD_ONLY["promptflow_vectordb"],
    "promptflow.tools.open_model_llm": (
        "this tool calls Azure ML endpoints by their management API",
        "use an llm node with a serverless or open_ai connection whose address is the endpoint's",
    ),
}

# Wheels that write over our own files, or that need Azure ML.
_OVERWRITES = ("promptflow-core", "promptflow-devkit", "promptflow-azure", "promptflow-tracing")
_CLOUD_WHEELS = {"promptflow-vectordb": "promptflow_vectordb", "promptflow-rag": "promptflow.rag"}
_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*([^;#]*)")

_DISTRIBUTIONS = {
    "azure.ai.ml": "azure-ai-ml",
    "azure.identity": "azure-identity",
    "azure.search": "azure-search-documents",
    "azure.storage": "azure-storage-blob",
    "azure.core": "azure-core",
    "azure.keyvault": "azure-keyvault-secrets",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "PyMuPDF",
    "jose": "python-jose",
    "PIL": "pillow",
    "PyPDF2": "PyPDF2",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}


def distribution(module: str) -> str:
    """The name to `pip install` for an import."""
    for known in (".".join(module.split(".")[:3]), ".".join(module.split(".")[:2]), module.partition(".")[0]):
        if known in _DISTRIBUTIONS:
            return _DISTRIBUTIONS[known]
    return module.partition(".")[0].replace("_", "-")


def judge_requirement(line: str) -> tuple[str, str] | None:
    """(what is wrong, what to do) of one line of a requirements file; None when it is fine."""
    match = _NAME.match(line)
    if match is None or line.lstrip().startswith(("#", "-")):
        return None
    name, version = match[1].lower().replace("_", "-").replace(".", "-"), match[3].strip()
    if name in _OVERWRITES:
        return f"{name} 1.x writes over the files of promptflow 2", "take the line out: promptflow 2 holds it"
    if name in _CLOUD_WHEELS:
        return CLOUD_ONLY[_CLOUD_WHEELS[name]]
    if name == "promptflow" and re.search(r"(==|~=)\s*[01]\.|<=?\s*([01]\.|2(\.0)*\s*(,|$))", version):
        return f"this asks for promptflow {version}", "write promptflow>=2"
    return None
