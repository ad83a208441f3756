import pytest

from promptflow.entities import AzureOpenAIConnection, CustomConnection
from promptflow.exceptions import ConnectionNotFoundError


def test_connections_are_kept_with_their_secrets_hidden(client):
    client.connections.create_or_update(CustomConnection(name="b", configs={"k": "v"}, secrets={"s": "topsecret"}))
    client.connections.create_or_update(AzureOpenAIConnection(name="a", api_key="key", api_base="http://base"))
    assert [connection.name for connection in client.connections.list()] == ["a", "b"]
    assert len(client.connections.list(max_results=1)) == 1
    shown = client.connections.get("b")
    assert (shown.configs["k"], "topsecret" in str(shown.secrets)) == ("v", False)
    assert client.connections.get("b", with_secrets=True).s == "topsecret"
    client.connections.delete("a")
    with pytest.raises(ConnectionNotFoundError):
        client.connections.get("a")


def test_environment_variables_of_a_run_may_name_a_secret_which_is_not_kept(client, echo, data):
    client.connections.create_or_update(CustomConnection(name="c", configs={}, secrets={"s": "topsecret"}))
    (echo / "a.py").write_text(
        "import os\nfrom promptflow.core import tool\n@tool\ndef echo(x: str):\n    return len(os.environ['WORD'])\n"
    )
    run = client.run(flow=echo, data=data("1"), environment_variables={"WORD": "${c.s}", "PLAIN": "hush-hush"})
    assert next(run.folder.outputs())["o"] == len("topsecret")
    kept = b"".join(p.read_bytes() for p in client.workspace.home.rglob("*") if p.is_file())
    assert b"hush-hush" not in kept
    assert b"topsecret" not in kept
    assert client.run(resume_from=run).status == "Completed"
