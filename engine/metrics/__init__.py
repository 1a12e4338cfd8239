"""Computes metrics, mostly with pure functions of arrays.

Modules:
    catalog: label, unit, direction, range and uses of every metric.
    pixel: metrics of single images (MSE, MAE, PSNR, SSIM).
    distribution: distances between sets of features (FID, KID), Inception Score.
    features: computes feature matrices with a pretrained network.
    feature_matrix: validates feature matrices.
    half_sampling: metrics on random halves of the images.
    intervals: confidence intervals, paired tests, Holm's correction.

Not here: the evaluation of a checkpoint (`evaluation`), the comparison of runs (`report`).
"""
