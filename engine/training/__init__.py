"""Training of one run, without processes and without a database.

Modules:
    loop: the training loop, a generator of events.
    step: one training step of discriminator and generator.
    losses: the functions of the loss terms.
    state: networks, optimisers, moving average and random generators of a run.
    checkpoint: saves and loads a training state.
    execution: resolves `auto` settings (device, precision, threads, compile).
    machine_profile: measures properties of this machine.
    cuda_graph: captures a training step as a CUDA graph.
    target_features: caches the feature maps of the targets.
    distributed: several processes that train one run.

Not here: recording of events (`workers`) and evaluation (`evaluation`).
"""
