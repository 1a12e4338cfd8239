"""Stand-ins for pretrained weights."""

import hashlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import torch

from engine import weights

SITE = Path(__file__).parent / "replaced_weights"


def install_weights(name, state, settings, monkeypatch):
    """Saves a state as a file of weights, and its sha256 in the catalog."""
    settings.weights_dir.mkdir(parents=True)
    path = settings.weights_dir / weights.CATALOG[name].file
    torch.save(state, path)
    replace_entry(name, path.read_bytes(), monkeypatch)
    return path


def replace_entry(name, content, monkeypatch):
    """Replaces the sha256 and the size of a file in the catalog of this process."""
    digest = hashlib.sha256(content).hexdigest()
    entry = replace(weights.CATALOG[name], sha256=digest, n_bytes=len(content))
    monkeypatch.setitem(weights.CATALOG, name, entry)


def replace_in_processes(names, monkeypatch):
    """Replaces entries as in this process in all processes that are started later."""
    entries = {
        name: {"sha256": weights.CATALOG[name].sha256, "n_bytes": weights.CATALOG[name].n_bytes}
        for name in names
    }
    monkeypatch.setenv("CHROMABENCH_TEST_WEIGHTS", json.dumps(entries))
    path = os.pathsep.join(filter(None, [str(SITE), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)


def random_inception(monkeypatch):
    """Returns the state of an Inception network with random weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        # The constructor loads a file of weights: replace the loading, there is no such file.
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_, **__: None)
        patch.setattr(torch, "load", lambda *_, **__: {})
        network = FeatureExtractorInceptionV3(
            "x", ["2048"], feature_extractor_weights_path=os.devnull
        )
    return network.state_dict()


def as_file(state):
    """Returns the bytes of a file with a state."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
