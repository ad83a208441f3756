"""The files of `pf flow init` and `pf tool init`; `<<NAME>>` in them is filled in."""

from __future__ import annotations

_SCHEMA = "$schema: https://azuremlschemas.azureedge.net/promptflow/latest/Flow.schema.json\n"

STANDARD = {
    "flow.dag.yaml": _SCHEMA
    + """inputs:
  text:
    type: string
outputs:
  answer:
    type: string
    reference: ${shorten.output}
nodes:
- name: letter
  type: prompt
  source:
    type: code
    path: letter.jinja2
  inputs:
    text: ${inputs.text}
- name: shorten
  type: python
  source:
    type: code
    path: shorten.py
  inputs:
    text: ${letter.output}
    words: 12
""",
    "letter.jinja2": "Dear reader,\nyou wrote: {{text}}\nThank you for your words.\n",
    "shorten.py": '''from promptflow.core import tool


@tool
def shorten(text: str, words: int) -> str:
    """The first words of a text, on one line."""
    return " ".join(text.split()[:words])
''',
    "data.jsonl": '{"text": "Hello!"}\n{"text": "What is a flow?"}\n{"text": "See you soon."}\n',
    "requirements.txt": "promptflow\n",
    ".gitignore": ".promptflow/\n.runs/\n__pycache__/\n",
}

EVALUATION = {
    "flow.dag.yaml": _SCHEMA
    + """inputs:
  groundtruth:
    type: string
  prediction:
    type: string
outputs:
  grade:
    type: string
    reference: ${grade.output}
nodes:
- name: grade
  type: python
  source:
    type: code
    path: grade.py
  inputs:
    groundtruth: ${inputs.groundtruth}
    prediction: ${inputs.prediction}
- name: summarize
  type: python
  source:
    type: code
    path: summarize.py
  inputs:
    grades: ${grade.output}
  aggregation: true
""",
    "grade.py": '''from promptflow.core import tool


@tool
def grade(groundtruth: str, prediction: str) -> str:
    """One row: is the prediction right?"""
    same = groundtruth.strip().lower() == prediction.strip().lower()
    return "correct" if same else "wrong"
''',
    "summarize.py": '''from promptflow.core import log_metric, tool


@tool
def summarize(grades: list) -> dict:
    """All rows at once: log the metrics of the run."""
    accuracy = grades.count("correct") / len(grades) if grades else 0.0
    log_metric("accuracy", accuracy)
    return {"rows": len(grades), "accuracy": accuracy}
''',
    "data.jsonl": '{"groundtruth": "yes", "prediction": "Yes"}\n{"groundtruth": "no", "prediction": "maybe"}\n',
    "requirements.txt": "promptflow\n",
    ".gitignore": ".promptflow/\n.runs/\n__pycache__/\n",
}

CHAT = {
    "flow.dag.yaml": _SCHEMA
    + """type: chat
inputs:
  chat_history:
    type: list
    is_chat_history: true
    default: []
  question:
    type: string
    is_chat_input: true
    default: Hello!
outputs:
  answer:
    type: string
    reference: ${chat.output}
    is_chat_output: true
nodes:
- name: chat
  type: llm
  source:
    type: code
    path: chat.jinja2
  inputs:
    model: <<MODEL>>
    deployment_name: <<MODEL>>
    max_tokens: 256
    temperature: 0.7
    chat_history: ${inputs.chat_history}
    question: ${inputs.question}
  connection: <<CONNECTION>>
  api: chat
""",
    "chat.jinja2": """# system:
You are a friendly assistant. Answer briefly.

{% for turn in chat_history %}
# user:
{{turn.inputs.question}}
# assistant:
{{turn.outputs.answer}}
{% endfor %}

# user:
{{question}}
""",
    "openai.yaml": """$schema: https://azuremlschemas.azureedge.net/promptflow/latest/OpenAIConnection.schema.json
name: <<CONNECTION>>
type: open_ai
api_key: <user-input>
""",
    "azure_openai.yaml": """$schema: https://azuremlschemas.azureedge.net/promptflow/latest/AzureOpenAIConnection.schema.json
name: <<CONNECTION>>
type: azure_open_ai
api_key: <user-input>
api_base: <your endpoint>
api_type: azure
""",
    "README.md": """# A chat flow

The flow asks the connection `<<CONNECTION>>`. Make it once, with one of:

    pf connection create -f openai.yaml --set api_key=YOUR_KEY
    pf connection create -f azure_openai.yaml --set api_key=YOUR_KEY api_base=YOUR_ENDPOINT

Any server that speaks the OpenAI protocol will do: add `base_url` to `openai.yaml`.

Then talk to it:

    pf flow test --flow . --interactive
""",
    "requirements.txt": "promptflow\n",
    ".gitignore": ".promptflow/\n.runs/\n__pycache__/\n",
}

FLOWS = {"standard": STANDARD, "evaluation": EVALUATION, "chat": CHAT}

TOOL = {
    "<<NAME>>.py": '''from promptflow.core import tool


@tool
def <<NAME>>(text: str) -> str:
    """What this tool does, in one line."""
    return text
''',
}

TOOL_PACKAGE = {
    "pyproject.toml": """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "<<PACKAGE>>"
version = "0.0.1"
description = "Tools for Prompt flow."
dependencies = ["promptflow"]

[project.entry-points.package_tools]
package_tools = "<<PACKAGE>>.tool_list:list_package_tools"

[tool.setuptools.package-data]
<<PACKAGE>> = ["yamls/*.yaml"]
""",
    "<<PACKAGE>>/__init__.py": "",
    "<<PACKAGE>>/tool_list.py": '''"""The tools of this package, for promptflow: every file of the folder `yamls`."""

from pathlib import Path

import yaml


def list_package_tools() -> dict:
    tools = {}
    for file in sorted(Path(__file__).with_name("yamls").glob("*.yaml")):
        tools.update(yaml.safe_load(file.read_text(encoding="utf-8")))
    return tools
''',
    "<<PACKAGE>>/<<NAME>>.py": '''from promptflow.core import tool


@tool
def <<NAME>>(text: str) -> str:
    """What this tool does, in one line."""
    return text
''',
    "<<PACKAGE>>/yamls/<<NAME>>.yaml": """<<PACKAGE>>.<<NAME>>.<<NAME>>:
  name: <<NAME>>
  description: What this tool does, in one line.
  type: python
  module: <<PACKAGE>>.<<NAME>>
  function: <<NAME>>
  inputs:
    text:
      type:
      - string
<<EXTRA>>""",
    "tests/test_<<NAME>>.py": """from <<PACKAGE>>.<<NAME>> import <<NAME>>


def test_<<NAME>>_gives_its_text_back():
    assert <<NAME>>("hello") == "hello"
""",
    "README.md": """# <<PACKAGE>>

Tools for Prompt flow. `pip install -e .` makes them known to `pf tool list` and to every flow:

    - name: my_node
      type: python
      source:
        type: package
        tool: <<PACKAGE>>.<<NAME>>.<<NAME>>
      inputs:
        text: ${inputs.text}
""",
}


def fill(files: dict[str, str], **values: str) -> dict[str, str]:
    """The files with every `<<NAME>>` replaced, in names and texts."""

    def filled(text: str) -> str:
        for name, value in values.items():
            text = text.replace(f"<<{name.upper()}>>", value)
        return text

    return {filled(name): filled(text) for name, text in files.items()}
