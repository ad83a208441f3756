"""What the deployment `blue` answers with: the species of each flower, and how sure the model is of it."""

import json
import os

import pandas as pd
from skops.io import load


def init():
    global model
    model = load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "iris.skops"))
    print("knows", *model.classes_)


def run(raw_data):
    table = json.loads(raw_data)["input_data"]
    flowers = pd.DataFrame(table["data"], columns=table["columns"])
    sure = model.predict_proba(flowers).max(axis=1)
    return [{"species": name, "sure": round(p, 2)} for name, p in zip(model.predict(flowers), sure, strict=True)]
