"""What the README of an exported deployment says."""

from __future__ import annotations

from promptflow.serving.export.container import PORT, Recipe
from promptflow.serving.export.manifests import secret_name
from serve.placement.key import KEY

_PLATFORMS = {"kubernetes": "Kubernetes", "kserve": "KServe"}


def readme(recipe: Recipe, format: str, image: str, on_claim: str) -> str:
    """``on_claim`` is the model that a volume has, empty where the folder has it."""
    given = "".join(f" -e {name}" for name in recipe.variables)
    exports = "".join(f"export {name}=...\n" for name in recipe.variables)
    links = "--find-links wheels " if recipe.has_wheels else ""
    return f"""# {recipe.name}, one instance of a deployment

`{KEY}` is a key of your choice, 16 characters or more (`openssl rand -hex 24`), that requests have to show:
`Authorization: Bearer KEY`. No secret is in this folder; where it runs, these environment variables give them:
{", ".join(f"`{name}`" for name in recipe.variables)}.

| file | what it is |
|---|---|
| `spec.json` | what is run, and its settings |
| `model/`, `adapters/`, `code/`, `connections/` | what it is run from, as far as it has them |
| `settings.json` | the names of the variables |
| `requirements.lock` | the packages, with the versions that the deployment ran with |
| `Dockerfile`, `start.sh` | how it becomes a container, and starts |

## In a container

```sh
docker build -t {recipe.name} .
docker run -p {PORT}:{PORT}{given} {recipe.name}
```

## Without one

```sh
python -m pip install {links}-r requirements.lock
{exports}python -m serve.placement .
```

It answers what an instance answers, `/score` for one, at `http://localhost:{PORT}`; `/` and `/ready` tell without the
key that it lives. `PF_SERVING_HOST` and `PF_SERVING_PORT` say where it listens. Failures of the deployment's own code
are answered with 500 and the headers `ms-azureml-model-error-*`.
{_on_platform(recipe, format, image, on_claim)}"""


def _on_platform(recipe: Recipe, format: str, image: str, on_claim: str) -> str:
    if format not in _PLATFORMS:
        return ""
    literals = "".join(f" \\\n  --from-literal={name}=..." for name in recipe.variables)
    model = f"\nThe volume that the manifests name has the model at `{on_claim}`.\n" if on_claim else ""
    return f"""
## On {_PLATFORMS[format]}

Push the image, have `{image}` in `{format}/` say where it is, then:

```sh
kubectl create secret generic {secret_name(recipe)}{literals}
kubectl apply -f {format}/
```
{model}"""
