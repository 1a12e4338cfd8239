"""Export to MLflow. It reads the store; training is not involved.

Modules:
    export_requests: which studies are to be exported to which server.
    uploader: brings an MLflow server up to date with the store.
    process: the process that uploads until nothing is left.
    mlflow_format: names, timestamps and tags in MLflow's format.

Not here: recording of runs (`workers`, `store`).
"""
