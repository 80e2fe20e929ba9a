"""scikit-learn's MLP: its own fit, started from the task's parameters and fed the task's batches."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor, _multilayer_perceptron

from ..workloads import Task
from . import Peer, Run, Unavailable
from .clock import Clock

ACTIVATIONS = {"relu": "relu", "sigmoid": "logistic"}
EXPRESSIBLE = {("sigmoid", "bce"), ("", "cross_entropy"), ("", "mse")}


class Estimator(Peer):
    """MLPClassifier, or MLPRegressor for MSE, without penalty and without early stopping."""

    def __init__(self, task: Task) -> None:
        workload = task.workload
        if (workload.output, workload.loss) not in EXPRESSIBLE:
            raise Unavailable(f"its MLP cannot train {workload.output} outputs into {workload.loss}")
        self.task = task
        self.y = task.y if workload.loss == "cross_entropy" else task.y[:, 0]
        if workload.optimizer == "adam":
            self.judge = "torch_folded"
        options: dict[str, Any] = {
            "hidden_layer_sizes": workload.widths[1:-1],
            "activation": ACTIVATIONS[workload.hidden],
            "solver": workload.optimizer,
            "learning_rate_init": workload.lr,
            "batch_size": workload.batch or workload.rows,
            "shuffle": workload.batch is not None,
            "alpha": 0.0,
            "momentum": 0.0,
            "nesterovs_momentum": False,
            "tol": 0.0,
            "n_iter_no_change": np.inf,
            "warm_start": True,
            "random_state": 0,
        }
        kind = MLPRegressor if workload.loss == "mse" else MLPClassifier
        # Its squared loss is half of MSELoss; Adam with half the gradient and half epsilon steps the same.
        self.model = kind(**options, epsilon=0.5e-8 if workload.loss == "mse" else 1e-8)
        self._fit(1)

    def _fit(self, epochs: int) -> Clock:
        self.model.set_params(max_iter=epochs)
        # fit shuffles its row numbers once an epoch; here the shuffle answers with the task's order
        orders = list(self.task.orders(epochs))
        with (
            mock.patch.object(_multilayer_perceptron, "shuffle", side_effect=orders),
            Clock() as clock,
        ):
            self.model.fit(self.task.x, self.y)
        return clock

    def run(self, epochs: int) -> Run:
        weights, biases = self.task.start[::2], self.task.start[1::2]
        self.model.coefs_ = [np.array(weight.T, order="C") for weight in weights]
        self.model.intercepts_ = [bias.copy() for bias in biases]
        kept = len(self.model.loss_curve_)
        self.model._no_improvement_count = 0
        clock = self._fit(epochs)
        losses = np.asarray(self.model.loss_curve_[kept:])
        if self.task.workload.loss == "mse":
            losses = 2 * losses
        parameters = [
            np.ascontiguousarray(array)
            for pair in zip((w.T for w in self.model.coefs_), self.model.intercepts_, strict=True)
            for array in pair
        ]
        return Run(clock.seconds, clock.cpu_seconds, losses, parameters)
