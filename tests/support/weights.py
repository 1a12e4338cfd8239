"""Stand-ins for pretrained weights."""

from dataclasses import replace

import torch

from engine import weights


def install_weights(name, state, settings, monkeypatch):
    """Saves a state as a file of weights, and its sha256 in the catalog."""
    settings.weights_dir.mkdir(parents=True)
    path = settings.weights_dir / weights.CATALOG[name].file
    torch.save(state, path)
    entry = replace(weights.CATALOG[name], sha256=weights.hash_file(path))
    monkeypatch.setitem(weights.CATALOG, name, entry)
    return path
