"""Chromabench's engine: trains, evaluates and compares pix2pix configurations.

Importing this package loads nothing. A reading order for newcomers: `config` and `presets` (what a
run is), `training.loop` (the training loop), `evaluation.evaluate` (the metrics), `store` (where
results are kept), `jobs` and `workers` (how a run becomes a process), `cli` (the commands).

Modules:
    config: the schema of a run: recipe, output, optimiser, budget, execution.
    presets: the built-in configurations and budgets.
    overrides: `--set key=value`.
    annotations: rules for names, notes and tags.
    environment: the environment variables: names, values, defaults, meanings.
    settings: paths and limits of an installation.
    errors: the errors that a user can act on.

Packages:
    options: the tables of loss terms, outputs and decodings.
    records: frozen records that the store takes and returns.
    system: files, disks and processes of the operating system.
    weights: files of pretrained weights: catalog, requirements of runs, downloads.
    images: decoding, colour spaces and sample grids.
    networks: generators with their outputs, PatchGAN, pretrained backbones.
    metrics: metrics as pure functions of arrays.
    data: sources of image pairs, scans for faults, packing, batches.
    store: the database.
    training: the training loop, the step, the losses, checkpoints.
    evaluation: evaluates a checkpoint on a split.
    report: comparison, findings, tables, figures, export of a study.
    tracking: export to MLflow.
    jobs: the job queue, the supervisor, launchers.
    workers: what a spawned process does.
    maintenance: backup, restore, pruning.
    serve: the model server.
    bench: benchmarks beside plain implementations and well-known libraries.
    cli: the command line.

Not here: anything that draws a page (`dashboard`).
"""
