"""Trains one run. No module of this package uses the database.

Modules:
    loop: the training loop, a generator of events.
    step: one training step of discriminator and generator.
    losses: the functions of the loss terms.
    optimizers: builds the optimisers and sets their learning rates.
    schedules: the factor of the learning rates at each step.
    preparation: fits a generator to the training split before the first step.
    state: networks, optimisers, moving average and random generators of a run.
    checkpoint: saves and loads a training state.
    execution: resolves `auto` settings (device, precision, threads, compile and others).
    machine_profile: measures properties of this machine.
    cuda_graph: captures a training step as a CUDA graph.
    target_features: caches the feature maps of the targets.
    source_feature_cache: stores the pretrained features of the sources in a file.
    distributed: connects the processes that train one run together.

Not here: recording of events (`workers`) and evaluation (`evaluation`).
"""
