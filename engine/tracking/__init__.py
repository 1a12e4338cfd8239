"""Exports studies from the store to MLflow. Training does not depend on the export.

Modules:
    uploader: uploads a study to an MLflow server.
    mlflow_format: converts names, timestamps and tags to MLflow's format.
    mlflow_client: checks the address of a server and the installation of MLflow's client.
    request_files: moves the export requests of earlier versions into the database.

Not here: requests and upload progress (`store.exports`), the job that uploads (`workers.export`),
recording of runs (`workers`).
"""
