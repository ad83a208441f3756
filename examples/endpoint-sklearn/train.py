"""Train a classifier of irises on `iris.csv`, and write it to `model/iris.skops`."""

from pathlib import Path

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops.io import dump

folder = Path(__file__).parent
table = pd.read_csv(folder / "iris.csv")
model = make_pipeline(StandardScaler(), LogisticRegression())
model.fit(table.drop(columns="species"), table["species"])
(folder / "model").mkdir(exist_ok=True)
dump(model, folder / "model" / "iris.skops")
print(f"right on {model.score(table.drop(columns='species'), table['species']):.0%} of {len(table)} flowers")
