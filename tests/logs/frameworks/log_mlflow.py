"""Log two runs of one name and a deleted one with MLflow's client: ``python log_mlflow.py TRACKING_URI``.

Run by the interpreter of the dependency group ``trl``.
"""

from __future__ import annotations

import os
import sys


def main(uri: str) -> None:
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}

    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.create_experiment("goldpeak")
    for factor in (1.0, 2.0, 3.0):
        run = client.create_run(experiment, run_name="rm-3M").info.run_id
        client.log_param(run, "beta", 0.05)
        for step in range(1, 6):
            client.log_metric(run, "kl", 0.01 * factor * step, step=step)
            client.log_metric(run, "completions/mean_length", 50.0, step=step)
            client.log_metric(run, "rewards/gold/mean", factor * step, step=step)
        client.log_metric(run, "rewards/gold/mean", float("nan"), step=6)
        client.log_metric(run, "kl", float("inf"), step=6)
        client.set_terminated(run)
    client.delete_run(run)


if __name__ == "__main__":
    main(sys.argv[1])
