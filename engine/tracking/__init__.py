"""Export to MLflow. It reads the store; training is not involved.

Modules:
    export_requests: the studies to export, and the progress of each export.
    uploader: uploads a study to an MLflow server.
    process: the process that uploads until all requests are complete.
    mlflow_format: names, timestamps and tags in MLflow's format.

Not here: recording of runs (`workers`, `store`).
"""
