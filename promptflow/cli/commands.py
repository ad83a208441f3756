"""The table of commands: name -> where it is. A module is imported when its command runs, and not before."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """Where one verb is (``module:NAME`` of a ``Command``) and the line that lists show."""

    target: str
    help: str


@dataclass(frozen=True, slots=True)
class Group:
    help: str
    verbs: dict[str, Verb]


COMMANDS: dict[str, Group | Verb] = {
    "flow": Group(
        "Make, test and check flows.",
        {
            "init": Verb("promptflow.cli.flow_init:INIT", "Make a new flow folder, or wrap a function you have."),
            "save": Verb("promptflow.cli.flow:SAVE", "Save a function or a class as a flex flow."),
            "test": Verb("promptflow.cli.flow_test:TEST", "Run a flow, or one node of it, on one set of inputs."),
            "serve": Verb("promptflow.cli.flow_serve:SERVE", "Serve a flow over HTTP."),
            "build": Verb("promptflow.cli.flow_build:BUILD", "Write a folder to serve a flow from."),
            "validate": Verb("promptflow.cli.flow:VALIDATE", "Check a flow file and list every error in it."),
        },
    ),
    "run": Group(
        "Run flows over data, and look at what came out.",
        {
            "create": Verb("promptflow.cli.run_create:CREATE", "Run a flow over the rows of a data file."),
            "resume": Verb("promptflow.cli.run_resume:RESUME", "Go on with a run that did not get to its end."),
            "retry": Verb("promptflow.cli.run_resume:RETRY", "Run the failed rows of a run again."),
            "replay": Verb("promptflow.cli.run_replay:REPLAY", "Run a recorded run again, without the network."),
            "export-tape": Verb("promptflow.cli.run_replay:EXPORT_TAPE", "Copy the tape of a recorded run to a file."),
            "update": Verb("promptflow.cli.run:UPDATE", "Change the display name, description or tags of a run."),
            "stream": Verb("promptflow.cli.run:STREAM", "Print the log of a run until it ends."),
            "list": Verb("promptflow.cli.run:LIST", "List runs, newest first."),
            "search": Verb("catalog.cli.run_search:SEARCH", "Find runs by metrics, tags and fields."),
            "show": Verb("promptflow.cli.run:SHOW", "Show the record of a run."),
            "show-details": Verb("promptflow.cli.run:SHOW_DETAILS", "Show the inputs and outputs of a run's rows."),
            "show-metrics": Verb("promptflow.cli.run:SHOW_METRICS", "Show the metrics of a run."),
            "visualize": Verb("promptflow.cli.run:VISUALIZE", "Write an HTML page that compares runs."),
            "export": Verb("promptflow.cli.run_export:EXPORT", "Write a run's rows as csv, jsonl or parquet."),
            "archive": Verb("promptflow.cli.run:ARCHIVE", "Hide a run from lists."),
            "restore": Verb("promptflow.cli.run:RESTORE", "Bring an archived run back."),
            "delete": Verb("promptflow.cli.run:DELETE", "Delete a run and its files for good."),
            "build": Verb("promptflow.cli.flow_build:RUN_BUILD", "Write a folder to serve the flow of a run from."),
        },
    ),
    "connection": Group(
        "Keep the addresses and keys of models and services.",
        {
            "create": Verb("promptflow.cli.connection:CREATE", "Save a connection from a YAML or .env file."),
            "update": Verb("promptflow.cli.connection:UPDATE", "Change fields of a connection."),
            "show": Verb("promptflow.cli.connection:SHOW", "Show a connection, secrets hidden."),
            "list": Verb("promptflow.cli.connection:LIST", "List connections."),
            "delete": Verb("promptflow.cli.connection:DELETE", "Delete a connection."),
        },
    ),
    "catalog": Group(
        "Find models, pull them, and tell which fit this machine.",
        {
            "search": Verb("catalog.cli.search:SEARCH", "Search a hub for models."),
            "show": Verb("catalog.cli.show:SHOW", "Show the card of a model: licence, size, formats, results."),
            "pull": Verb("catalog.cli.pull:PULL", "Pull a model to this machine."),
            "list": Verb("catalog.cli.list:LIST", "List the models in the cache of this machine."),
            "remove": Verb("catalog.cli.remove:REMOVE", "Remove a pulled model."),
            "prune": Verb("catalog.cli.prune:PRUNE", "Delete files of models that nothing needs."),
            "verify": Verb("catalog.cli.verify:VERIFY", "Hash the files of pulled models."),
            "fit": Verb("catalog.cli.fit:FIT", "Tell whether models would run on this machine, and how."),
            "compare": Verb("catalog.cli.compare:COMPARE", "Put models side by side."),
            "mirror": Verb("catalog.cli.mirror:MIRROR", "Serve the models of this machine as a hub of your own."),
            "mirror-token": Verb("catalog.cli.mirror:TOKEN", "Make, list or withdraw tokens of the mirror."),
        },
    ),
    "model": Group(
        "Register models: versions, aliases, stages, lineage.",
        {
            "create": Verb("catalog.cli.model_create:CREATE", "Register a model from a YAML file or a path."),
            "list": Verb("catalog.cli.model:LIST", "List registered models, or the versions of one."),
            "show": Verb("catalog.cli.model:SHOW", "Show a version of a model: digest, tags, lineage, card."),
            "download": Verb("catalog.cli.model:DOWNLOAD", "Write the files of a version to a folder."),
            "update": Verb(
                "catalog.cli.model_create:UPDATE", "Change stage, tags, description or aliases of a version."
            ),
            "archive": Verb("catalog.cli.model:ARCHIVE", "Hide a version or a model from lists."),
            "restore": Verb("catalog.cli.model:RESTORE", "Bring an archived version or model back."),
            "serve": Verb("serve.cli.model_serve:SERVE", "Serve models over the OpenAI API."),
            "share": Verb("catalog.cli.model_share:SHARE", "Copy a version to another workspace, digest and all."),
            "delete": Verb("catalog.cli.model:DELETE", "Delete a version and its files for good."),
        },
    ),
    "engine": Group(
        "Install engines that have an environment of their own.",
        {
            "install": Verb("serve.cli.engine_install:INSTALL", "Install vLLM into an environment of its own."),
            "list": Verb("serve.cli.engine:LIST", "List the engines that models can run on here."),
            "show": Verb("serve.cli.engine:SHOW", "Show an engine that was installed."),
            "logs": Verb("serve.cli.engine:LOGS", "Print what the engine of a model wrote."),
            "remove": Verb("serve.cli.engine:REMOVE", "Remove an engine that was installed."),
        },
    ),
    "endpoint": Group(
        "Online endpoints: a name, its keys, and where its requests go.",
        {
            "create": Verb("serve.cli.endpoint:CREATE", "Make an endpoint."),
            "update": Verb("serve.cli.endpoint:UPDATE", "Change the traffic, the tags or the like."),
            "show": Verb("serve.cli.endpoint:SHOW", "Show an endpoint: traffic, state, address."),
            "list": Verb("serve.cli.endpoint:LIST", "List endpoints."),
            "delete": Verb("serve.cli.endpoint:DELETE", "Delete an endpoint with its deployments."),
            "invoke": Verb("serve.cli.endpoint_invoke:INVOKE", "Send a request, and print the answer."),
            "get-credentials": Verb("serve.cli.endpoint_keys:GET", "Print the keys, or a token."),
            "regenerate-keys": Verb("serve.cli.endpoint_keys:REGENERATE", "Replace a key."),
        },
    ),
    "deployment": Group(
        "What answers for an endpoint: models, score.py, flows, LLMs.",
        {
            "create": Verb("serve.cli.deployment_create:CREATE", "Deploy something to an endpoint."),
            "update": Verb("serve.cli.deployment_create:UPDATE", "Change a deployment without losing a request."),
            "show": Verb("serve.cli.deployment:SHOW", "Show what a deployment runs, and its instances."),
            "list": Verb("serve.cli.deployment:LIST", "List deployments."),
            "delete": Verb("serve.cli.deployment:DELETE", "Delete a deployment that gets no traffic."),
            "get-logs": Verb("serve.cli.deployment:LOGS", "Print the logs of its instances."),
            "scale": Verb("serve.cli.deployment_create:SCALE", "Change how many instances it has."),
            "export": Verb("serve.cli.deployment_export:EXPORT", "Write a folder to run it elsewhere, on Kubernetes."),
        },
    ),
    "batch-endpoint": Group(
        "Batch endpoints: names that files are sent to, for a job to go through.",
        {
            "create": Verb("serve.cli.batch_endpoint:CREATE", "Make a batch endpoint."),
            "update": Verb("serve.cli.batch_endpoint:UPDATE", "Change the default deployment, the tags or the like."),
            "show": Verb("serve.cli.batch_endpoint:SHOW", "Show a batch endpoint."),
            "list": Verb("serve.cli.batch_endpoint:LIST", "List batch endpoints."),
            "delete": Verb("serve.cli.batch_endpoint:DELETE", "Delete a batch endpoint with its deployments."),
            "invoke": Verb("serve.cli.batch_invoke:INVOKE", "Start a job over a folder, a file or a table."),
            "list-jobs": Verb("serve.cli.batch_endpoint:LIST_JOBS", "List its jobs."),
        },
    ),
    "batch-deployment": Group(
        "What goes through the files of a batch endpoint: models, batch drivers, flows.",
        {
            "create": Verb("serve.cli.batch_deployment:CREATE", "Deploy something to a batch endpoint."),
            "update": Verb("serve.cli.batch_deployment:UPDATE", "Change a batch deployment."),
            "show": Verb("serve.cli.batch_deployment:SHOW", "Show what a batch deployment runs."),
            "list": Verb("serve.cli.batch_deployment:LIST", "List batch deployments."),
            "delete": Verb("serve.cli.batch_deployment:DELETE", "Delete a batch deployment."),
            "list-jobs": Verb("serve.cli.batch_deployment:LIST_JOBS", "List its jobs."),
        },
    ),
    "job": Group(
        "Jobs: what was sent to batch endpoints.",
        {
            "list": Verb("serve.cli.job:LIST", "List jobs, newest first."),
            "show": Verb("serve.cli.job:SHOW", "Show a job: status, progress, output."),
            "stream": Verb("serve.cli.job:STREAM", "Print the log of a job until it ends."),
            "cancel": Verb("serve.cli.job:CANCEL", "Stop a job."),
            "resume": Verb("serve.cli.job:RESUME", "Go on with a job that did not get to its end."),
            "download": Verb("serve.cli.job:DOWNLOAD", "Copy the output of a job to a folder."),
            "archive": Verb("serve.cli.job:ARCHIVE", "Hide a job from lists."),
            "restore": Verb("serve.cli.job:RESTORE", "Show an archived job in lists again."),
        },
    ),
    "index": Group(
        "Vector indexes of your texts, for flows that look things up.",
        {
            "create": Verb("promptflow.cli.index:CREATE", "Make a vector index of files."),
            "list": Verb("promptflow.cli.index:LIST", "List the vector indexes of the workspace."),
            "show": Verb("promptflow.cli.index:SHOW", "Show what an index was made of, and with which model."),
            "query": Verb("promptflow.cli.index:QUERY", "Find the pieces of an index that are nearest to a text."),
            "delete": Verb("promptflow.cli.index:DELETE", "Delete an index."),
        },
    ),
    "cache": Group(
        "The results of nodes that are kept for later runs.",
        {
            "stats": Verb("promptflow.cli.cache:STATS", "Show how many results are kept, and their size."),
            "list": Verb("promptflow.cli.cache:LIST", "List kept results, those used last first."),
            "clear": Verb("promptflow.cli.cache:CLEAR", "Remove all of them."),
            "prune": Verb("promptflow.cli.cache:PRUNE", "Remove those that were not used for longest."),
        },
    ),
    "config": Group(
        "Settings of the workspace and of a project.",
        {
            "set": Verb("promptflow.cli.config:SET", "Change settings."),
            "show": Verb("promptflow.cli.config:SHOW", "Show the settings in force, and where each comes from."),
        },
    ),
    "tool": Group(
        "Make, list and check tools.",
        {
            "init": Verb("promptflow.cli.tool:INIT", "Make a tool file, or a package of tools."),
            "list": Verb("promptflow.cli.tool:LIST", "List the tools of this environment and of a flow."),
            "validate": Verb("promptflow.cli.tool:VALIDATE", "Check the tools of a file, a module or a package."),
        },
    ),
    "trace": Group(
        "Look at the traces that flows leave.",
        {
            "list": Verb("promptflow.cli.trace:LIST", "List traces, newest first."),
            "show": Verb("promptflow.cli.trace:SHOW", "Show the spans of one trace."),
            "export": Verb("promptflow.cli.trace:EXPORT", "Write traces to a file: JSON lines or OTLP JSON."),
            "delete": Verb("promptflow.cli.trace:DELETE", "Delete the traces of a run, a collection or a time."),
        },
    ),
    "server": Group(
        "The server of this workspace: its endpoints, their REST API, and the collector of traces.",
        {
            "start": Verb("serve.cli.server:START", "Start the server."),
            "stop": Verb("serve.cli.server:STOP", "Stop it, and all instances with it."),
            "status": Verb("serve.cli.server:STATUS", "Say whether it runs, and where."),
        },
    ),
    "service": Group(
        "The server, as it was called before.",
        {
            "start": Verb("serve.cli.server:START", "Start the server."),
            "stop": Verb("serve.cli.server:STOP", "Stop it."),
            "status": Verb("serve.cli.server:STATUS", "Say whether it runs, and where."),
        },
    ),
    "migrate": Group(
        "Move an existing project here.",
        {"check": Verb("promptflow.cli.migrate_check:CHECK", "Say what in a folder runs unchanged and what does not.")},
    ),
    "doctor": Verb("promptflow.cli.doctor:DOCTOR", "Look for what is wrong with this installation and workspace."),
    "completion": Verb("promptflow.cli.completion:COMPLETION", "Print the completion script of a shell."),
    "upgrade": Verb("promptflow.cli.upgrade:UPGRADE", "Say how to upgrade."),
}
