"""Exports studies from the store to MLflow. Training does not depend on the export.

Modules:
    export_requests: stores the requests to export studies, and the progress of each export.
    uploader: uploads a study to an MLflow server.
    process: runs the uploader process until all requests are complete.
    mlflow_format: converts names, timestamps and tags to MLflow's format.

Not here: recording of runs (`workers`, `store`).
"""
