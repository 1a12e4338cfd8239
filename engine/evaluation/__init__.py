"""Evaluates a generator on a split, with intervals and the protocol of every value.

Modules:
    evaluate: one pass over the images that computes all metrics.
    values: the interface of meters, and the results of meters.
    image_meters: pixel, colour and discriminator metrics.
    distance_meters: distances in the features of one network.
    feature_extractors: builds the extractors of feature metrics.
    sanity: checks for blank and almost black images.
    inference_cost: latency, throughput and memory of a generator.
    checkpoint_evaluator: evaluates a checkpoint and builds the records to store.

Not here: the formulas (`metrics`) and the comparison of runs (`report`).
"""
