"""Every public name, with a valid value for each of its arguments: what the sweep spoils, one at a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn import doctor, gradcheck, random

__all__ = ["Subject", "subjects"]

MODULES = {
    "": snn,
    "functional": snn.functional,
    "init": snn.init,
    "lr_scheduler": snn.lr_scheduler,
    "random": random,
    "plots": snn.plots,
    "files": snn.files,
    "studies": snn.studies,
    "gradcheck": gradcheck,
    "doctor": doctor,
}
# What the package makes and hands out; its constructor is not for users.
RECORDS = (
    *("DivergenceError", "FitState", "History", "Many", "Trace", "FileFormatError", "StudyError"),
    *("StudyResult", "GradcheckError", "GradcheckReport", "TensorCheck", "Diagnosis", "Finding"),
)
# Of `random`, what data loaders and the engine call.
INTERNAL = ("random.permutation_from_words", "random.permutation_words", "random.resolve")
ABSTRACT = ("lr_scheduler.LRScheduler",)  # nothing before a subclass says what it computes
SPECIAL = ("__call__", "__getitem__", "__setitem__")


def rows(*shape: int) -> Any:
    """Floats between 0 and 1, none of them a round number."""
    n = int(np.prod(shape))
    return ((np.arange(n, dtype=np.float32) * 7 % 11 + 1) / 13).reshape(shape)


def network() -> Any:
    snn.manual_seed(0)
    return snn.Sequential(snn.Linear(2, 3), snn.Sigmoid(), snn.Linear(3, 1), snn.Sigmoid())


def line() -> Any:
    """A network from one number to one."""
    snn.manual_seed(0)
    return snn.Sequential(snn.Linear(1, 3), snn.ReLU(), snn.Linear(3, 1))


def adam() -> Any:
    return snn.Adam(network().parameters(), lr=0.1)


def pair() -> Any:
    """A network and an optimizer over it."""
    model = network()
    return model, snn.Adam(model.parameters(), lr=0.1)


def labels() -> Any:
    return np.array([[0], [1], [1], [0]], np.float32)


def recording() -> Any:
    model, optimizer = pair()
    kept = snn.Recording()
    loader = snn.DataLoader(snn.TensorDataset(rows(4, 2), labels()), batch_size=2)
    snn.fit(model, snn.BCELoss(), optimizer, loader, 1, callbacks=[kept], engine="numpy", progress=False)
    return kept


def trace() -> Any:
    return snn.trace(network(), snn.BCELoss(), rows(4, 2), labels())


def state() -> Any:
    from scratchnn.train import FitState

    history = snn.History(train_loss=[1.0])
    return FitState(*([*pair()][:1]), snn.BCELoss(), adam(), history, 1, 1)


def after_forward(layer: Any) -> Any:
    layer(rows(4, 2))
    return layer


def after_loss(loss_fn: Any) -> Any:
    loss_fn(rows(4, 2), rows(4, 2))
    return loss_fn


def classifier(kind: str = "MLPClassifier") -> Any:
    estimator = getattr(snn, kind)(hidden_layer_sizes=(2,), max_iter=1, engine="numpy", tol=np.inf)
    return estimator.fit(rows(4, 2), np.array([0, 1, 1, 0]))


def saved() -> str:
    snn.save(network(), "saved.safetensors")
    return "saved.safetensors"


# Valid values, by "subject.argument" or by ".argument" alone; what has a default and no value here keeps it.
GIVEN: dict[str, Callable[[], Any]] = {
    ".activation": lambda: "tanh",
    ".array": lambda: np.zeros((4, 2), np.float32),
    ".axis": lambda: -1,
    ".data": lambda: (rows(4, 2), labels()),
    ".dataset": lambda: snn.TensorDataset(rows(4, 2), labels()),
    ".dim": lambda: -1,
    ".dloss": lambda: np.float32(1),
    ".dtype": lambda: np.float32,
    ".dy": lambda: rows(4, 2),
    ".engine": lambda: "numpy",
    ".epochs": lambda: 1,
    ".gamma": lambda: 0.5,
    ".hidden": lambda: [3],
    ".hook": lambda: lambda module, x, y: None,
    ".in_features": lambda: 2,
    ".index": lambda: 0,
    ".indices": lambda: [0, 1],
    ".lengths": lambda: [2, 2],
    ".loss_fn": snn.BCELoss,
    ".lr_lambda": lambda: lambda epoch: 0.5,
    ".max_norm": lambda: 1.0,
    ".max_lr": lambda: 0.1,
    ".metrics": list,
    ".milestones": lambda: [1, 2],
    ".model": network,
    ".module": snn.ReLU,
    ".n": lambda: 3,
    ".optimizer": adam,
    ".out_features": lambda: 2,
    ".param_group": lambda: {"params": [snn.Parameter(rows(2))]},
    ".parameters": lambda: [spoilable()],
    ".params": lambda: [snn.Parameter(rows(2))],
    ".path": lambda: "out",
    ".prediction": lambda: rows(4, 2),
    ".progress": lambda: False,
    ".report": lambda: snn.gradcheck(snn.Tanh(), rows(4, 2).astype(np.float64)),
    ".seed": lambda: 3,
    ".size": lambda: (2, 2),
    ".state": state,
    ".target": lambda: rows(4, 2),
    ".tensor": lambda: np.zeros((4, 2), np.float32),
    ".trace": trace,
    ".weight": lambda: np.zeros((4, 2), np.float32),
    ".x": lambda: rows(4, 2),
    ".X": lambda: rows(4, 2),
    ".y": labels,
    "BCELoss.weight": lambda: rows(2),
    "BCEWithLogitsLoss.weight": lambda: rows(2),
    "BCEWithLogitsLoss.pos_weight": lambda: rows(2),
    "CosineAnnealingLR.T_max": lambda: 3,
    "CrossEntropyLoss.weight": lambda: rows(2),
    "NLLLoss.weight": lambda: rows(2),
    "Dropout.draw_factor.shape": lambda: (2, 2),
    "EarlyStopping.load_state_dict.state_dict": lambda: snn.EarlyStopping().state_dict(),
    "ModelCheckpoint.load_state_dict.state_dict": lambda: snn.ModelCheckpoint("out").state_dict(),
    "Generator.set_state.new_state": lambda: snn.Generator().get_state(),
    "History.add_steps.losses": lambda: rows(2),
    "LambdaLR.load_state_dict.state_dict": lambda: snn.LambdaLR(adam(), lambda epoch: 0.5).state_dict(),
    "LambdaLR.optimizer": adam,
    "Linear.dy": lambda: rows(4, 2),
    "MLP.__setitem__.index": lambda: 1,
    "MLP.load_state_dict.state_dict": lambda: SELF["MLP"]().state_dict(),
    "MLP.named_modules.prefix": str,
    "MLP.train.mode": lambda: True,
    "MLPClassifier.engine": lambda: "numpy",
    "MLPClassifier.max_iter": lambda: 1,
    "MLPRegressor.engine": lambda: "numpy",
    "MLPRegressor.max_iter": lambda: 1,
    "MLPClassifier.tol": lambda: 1e9,
    "MLPRegressor.tol": lambda: 1e9,
    "MLPClassifier.n_iter_no_change": lambda: 1,
    "MLPRegressor.n_iter_no_change": lambda: 1,
    "MLPClassifier.fit.y": lambda: np.array([0, 1, 1, 0]),
    "MLPClassifier.partial_fit.y": lambda: np.array([0, 1, 1, 0]),
    "MLPClassifier.partial_fit.classes": lambda: [0, 1],
    "MLPRegressor.fit.y": lambda: rows(4),
    "MLPClassifier.fit.sample_weight": lambda: rows(4),
    "MLPRegressor.fit.sample_weight": lambda: rows(4),
    "Module.forward.x": lambda: rows(4, 2),
    "ModuleList.modules": lambda: [snn.ReLU()],
    "ModuleList.extend.modules": lambda: [snn.ReLU()],
    "OneCycleLR.total_steps": lambda: 10,
    "Optimizer.defaults": lambda: {"lr": 0.1},
    "Optimizer.load_state_dict.state_dict": lambda: SELF["SGD"]().state_dict(),
    "SGD.load_state_dict.state_dict": lambda: SELF["SGD"]().state_dict(),
    "Parameter.accumulate.gradient": lambda: rows(4, 2),
    "Recording.at.step": lambda: 1,
    "Recording.fork.step": lambda: 1,
    "Recording.gradients.step": lambda: 1,
    "Recording.load.path": lambda: recorded(),
    "Recording.moments.step": lambda: 1,
    "Recording.over_time.name": lambda: "0.weight",
    "Recording.parameters.step": lambda: 1,
    "Recording.rows.step": lambda: 1,
    "Recording.settings.step": lambda: 1,
    "Recording.trace.step": lambda: 1,
    "Recording.trace.target": labels,
    "Recording.path": lambda: "out.recording",
    "ReduceLROnPlateau.step.metrics": lambda: 1.0,
    "ReduceLROnPlateau.load_state_dict.state_dict": lambda: snn.ReduceLROnPlateau(adam()).state_dict(),
    "CosineAnnealingLR.load_state_dict.state_dict": lambda: snn.CosineAnnealingLR(adam(), 3).state_dict(),
    "Sequential.modules": lambda: [snn.ReLU()],
    "StepLR.step_size": lambda: 2,
    "TensorDataset.tensors": lambda: [rows(4, 2)],
    "Threshold.threshold": lambda: 0.5,
    "Threshold.value": lambda: 0.5,
    "Trace.__getitem__.path": lambda: "0",
    "Trace.explain.name": lambda: "0.weight",
    "Trace.explain.index": lambda: (0, 0),
    "clip_grad_value_.clip_value": lambda: 1.0,
    "compare_runs.a": recording,
    "compare_runs.b": recording,
    "check_gradients.loss_of": lambda: lambda params: float((params**2).sum()),
    "check_gradients.params": lambda: rows(4, 2),
    "check_gradients.grads": lambda: 2 * rows(4, 2),
    "numeric_gradient.loss_of": lambda: lambda params: float((params**2).sum()),
    "numeric_gradient.params": lambda: rows(4, 2),
    "diagnose.subject": snn.Tanh,
    "diagnose.inputs": lambda: [rows(4, 2).astype(np.float64)],
    "gradcheck.subject": snn.Tanh,
    "gradcheck.inputs": lambda: [rows(4, 2).astype(np.float64)],
    "diagnose.loss_fn": lambda: None,
    "gradcheck.loss_fn": lambda: None,
    "fit_grid.make": lambda: lambda hidden: pair(),
    "fit_grid.grid": lambda: {"hidden": [1]},
    "fit_many.models": lambda: [network()],
    "fit_many.optimizers": lambda: None,
    "load.path": saved,
    "rand.size": lambda: [2, 2],
    "randn.size": lambda: [2, 2],
    "randint.low": lambda: 0,
    "randint.high": lambda: 5,
    "save.model": network,
    "to_python.loss_fn": snn.BCELoss,
    "trace.target": labels,
    "init.calculate_gain.nonlinearity": lambda: "relu",
    "init.calculate_gain.param": lambda: 0.1,
    "init.constant_.val": lambda: 0.5,
    "random.bernoulli.p": lambda: 0.5,
    "random.random_.array": lambda: np.zeros(3, np.int64),
    "studies.load.name": lambda: "circles",
    "randint.size": lambda: (2,),
    "Dropout.load_state_dict.state_dict": dict,
    "Dropout.register_parameter.name": lambda: "scale",
    "Dropout.register_parameter.parameter": lambda: snn.Parameter(rows(2)),
    "functional.*.a": lambda: rows(4, 2),
    "functional.*.amsgrad": lambda: False,
    "functional.*.b": lambda: rows(4, 2),
    "functional.*.beta1": lambda: 0.9,
    "functional.*.beta2": lambda: 0.9,
    "functional.*.bias": lambda: rows(2),
    "functional.*.c": lambda: 0.5,
    "functional.*.classes": lambda: 3,
    "functional.*.cut": lambda: 0.5,
    "functional.*.delta": lambda: 0.5,
    "functional.*.dterms": lambda: rows(4, 2),
    "functional.*.eps": lambda: 1e-8,
    "functional.*.factor": lambda: rows(4, 2),
    "functional.*.first": lambda: False,
    "functional.*.g": lambda: rows(4, 2),
    "functional.*.gain": lambda: 0.9,
    "functional.*.gain1": lambda: 0.9,
    "functional.*.gain2": lambda: 0.9,
    "functional.*.gradients": lambda: [rows(4, 2)],
    "functional.*.limit": lambda: 0.5,
    "functional.*.log_probs": lambda: rows(4, 2),
    "functional.*.logits": lambda: rows(4, 2),
    "functional.*.lr": lambda: 0.1,
    "functional.*.m": lambda: rows(4, 2),
    "functional.*.mask": lambda: rows(4, 2),
    "functional.*.maximize": lambda: False,
    "functional.*.momentum": lambda: 0.9,
    "functional.*.dampening": lambda: 0.9,
    "functional.*.negative_slope": lambda: 0.1,
    "functional.*.nesterov": lambda: False,
    "functional.*.norm": lambda: 0.5,
    "functional.*.p": lambda: rows(4, 2),
    "functional.*.peak": lambda: rows(4, 2),
    "functional.*.pos_weight": lambda: rows(2),
    "functional.*.root": lambda: 0.5,
    "functional.*.row_weights": lambda: rows(4),
    "functional.*.shrink": lambda: 0.5,
    "functional.*.step_size": lambda: 0.5,
    "functional.*.t": lambda: rows(4, 2),
    "functional.*.terms": lambda: rows(4, 2),
    "functional.*.v": lambda: rows(4, 2),
    "functional.*.value": lambda: 0.5,
    "functional.*.weight": lambda: rows(2),
    "functional.*.y": lambda: rows(4, 2),
    "functional.linear.weight": lambda: rows(2, 2),
    "functional.linear_vjp.weight": lambda: rows(2, 2),
    "functional.*.weight_decay": lambda: 0.1,
    "functional.adam_scalars.t": lambda: 1,
    "functional.adamw_scalars.t": lambda: 1,
    "functional.cross_entropy.target": lambda: np.array([0, 1, 1, 0]),
    "functional.cross_entropy_vjp.target": lambda: np.array([0, 1, 1, 0]),
    "functional.dropout_factor.p": lambda: 0.5,
    "functional.nll.target": lambda: np.array([0, 1, 1, 0]),
    "functional.nll_vjp.target": lambda: np.array([0, 1, 1, 0]),
    "lr_scheduler.LRScheduler.optimizer": adam,
    "plots.*.classes": labels,
    "plots.*.count": lambda: 2,
    "plots.*.extent": lambda: (0.0, 1.0, 0.0, 1.0),
    "plots.*.figure": snn.plots.new_figure,
    "plots.*.fits": lambda: {"a": (line(), rows(4), rows(4))},
    "plots.*.inside": lambda: np.ones((3, 3), bool),
    "plots.*.losses": lambda: [1.0, 0.5],
    "plots.*.models": lambda: {"a": network()},
    "plots.*.names": lambda: ["a", "b"],
    "plots.*.predicted": lambda: np.array([0, 1, 1, 0]),
    "plots.*.record": lambda: snn.History(train_loss=[1.0, 0.5]),
    "plots.*.recording": recording,
    "plots.*.runs": lambda: {"a": [1.0, 0.5]},
    "plots.*.x_train": lambda: rows(4, 2),
    "plots.*.x_test": lambda: rows(4, 2),
    "plots.*.y_train": labels,
    "plots.*.y_test": labels,
    "plots.animate.path": lambda: "out.gif",
    "plots.binary_prediction.model": lambda: steps_of_a_line(),
    "plots.binary_prediction.x": lambda: rows(4, 1),
    "plots.boundary_strip.names": lambda: None,
    "plots.confusion_matrix.target": lambda: np.array([0, 1, 1, 0]),
    "plots.curve_fit.model": line,
    "plots.curve_fit.x": lambda: rows(4, 1),
    "plots.curve_fit.y": lambda: rows(4, 1),
    "plots.curve_grid.columns": lambda: "width",
    "plots.curve_grid.rows": lambda: "rate",
    "plots.curve_grid.runs": lambda: {(1, 2): ([1.0, 0.5], [1.0, 0.5])},
    "plots.save.path": lambda: "out.png",
    "plots.staircase.model": lambda: steps_of_a_line(),
    "plots.staircase.x": lambda: rows(4, 1),
    "plots.staircase.y": lambda: rows(4, 1),
    "plots.table_of_means.columns": lambda: ["a", "b"],
    "plots.table_of_means.rows": lambda: ["c", "d"],
    "plots.table_of_means.values": lambda: rows(2, 2),
    "plots.gradients_over_time.names": lambda: None,
    "plots.parameters_over_time.names": lambda: None,
    "plots.threshold_places.model": line,
    "plots.thresholds.model": line,
    "plots.thresholds.x": lambda: rows(4, 1),
    "plots.thresholds.y": lambda: rows(4, 1),
    "Parameter.data": lambda: rows(4, 2),
    "lr_scheduler.StepLR.gamma": lambda: 0.5,
}


def steps_of_a_line() -> Any:
    return snn.Sequential(snn.Linear(1, 3), snn.Sigmoid(), snn.Linear(3, 1))


def spoilable() -> Any:
    parameter = snn.Parameter(rows(2))
    parameter.grad = rows(2)
    return parameter


def recorded() -> str:
    import os

    if not os.path.exists("kept.recording"):
        kept = snn.Recording(path="kept.recording")
        model, optimizer = pair()
        data = (rows(4, 2), labels())
        snn.fit(model, snn.BCELoss(), optimizer, data, 2, callbacks=[kept], engine="numpy", progress=False)
    return "kept.recording"


class Halved(snn.Module):
    """A module of one's own without a backward."""


# Objects whose methods are swept.
SELF: dict[str, Callable[[], Any]] = {
    "BCELoss": lambda: after_loss(snn.BCELoss()),
    "CosineAnnealingLR": lambda: snn.CosineAnnealingLR(adam(), 3),
    "DataLoader": lambda: snn.DataLoader(snn.TensorDataset(rows(4, 2), labels()), batch_size=2),
    "Dropout": lambda: after_forward(snn.Dropout()),
    "EarlyStopping": snn.EarlyStopping,
    "Generator": snn.Generator,
    "History": snn.History,
    "Identity": lambda: after_forward(snn.Identity()),
    "LambdaLR": lambda: snn.LambdaLR(adam(), lambda epoch: 0.5),
    "LeakyReLU": lambda: after_forward(snn.LeakyReLU()),
    "Linear": lambda: after_forward(snn.Linear(2, 2)),
    "LogSoftmax": lambda: after_forward(snn.LogSoftmax(-1)),
    "MLP": lambda: after_forward(snn.MLP(2, 3, 2)),
    "MLPClassifier": classifier,
    "MLPRegressor": lambda: classifier("MLPRegressor"),
    "ModelCheckpoint": lambda: snn.ModelCheckpoint("out"),
    "ModuleList": lambda: snn.ModuleList([snn.ReLU(), snn.Tanh()]),
    "Parameter": lambda: snn.Parameter(rows(4, 2)),
    "ReLU": lambda: after_forward(snn.ReLU()),
    "Recording": recording,
    "ReduceLROnPlateau": lambda: snn.ReduceLROnPlateau(adam()),
    "SGD": lambda: snn.SGD([snn.Parameter(rows(2))], lr=0.1),
    "Sigmoid": lambda: after_forward(snn.Sigmoid()),
    "Softmax": lambda: after_forward(snn.Softmax(-1)),
    "Subset": lambda: snn.Subset(snn.TensorDataset(rows(4, 2)), [0, 1]),
    "Tanh": lambda: after_forward(snn.Tanh()),
    "TensorDataset": lambda: snn.TensorDataset(rows(4, 2)),
    "Threshold": lambda: after_forward(snn.Threshold(0.5, 0.5)),
    "Trace": trace,
}


@dataclass(frozen=True)
class Subject:
    """A public function, class or method, and its arguments.

    Attributes:
        name: as a user writes it, without the package: "Linear.forward".
        owners: the words by which an error may name it.
    """

    name: str
    owners: tuple[str, ...]
    function: Callable[..., Any]
    make_self: Callable[[], Any] | None

    @property
    def arguments(self) -> list[str]:
        parameters = inspect.signature(self.function).parameters.values()
        found = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        return found[1:] if self.make_self else found

    def others(self) -> list[str]:
        """Classes of the other objects that take part, which may be the ones to refuse."""
        made = [
            self._valid(name)
            for name in self.arguments
            if name in ("loss_fn", "model", "optimizer", "subject")
        ]
        return [type(value).__name__ for value in made if value is not MISSING]

    def call(self, spoilt: str | None = None, value: Any = None) -> Any:
        """Call it with valid values, but `value` for the argument `spoilt`."""
        given = {name: self._valid(name) for name in self.arguments}
        if self.name == "fit" and given["model"] is not None:
            given["model"], given["optimizer"] = pair()
        if self.name == "fit_many":
            model, optimizer = pair()
            given["models"], given["optimizers"] = [model], [optimizer]
        parameters = inspect.signature(self.function).parameters
        if spoilt is not None:
            many = parameters[spoilt].kind is inspect.Parameter.VAR_POSITIONAL
            given[spoilt] = [value] if many else value
        positional: list[Any] = [self.make_self()] if self.make_self else []
        named: dict[str, Any] = {}
        for name, parameter in parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                named |= {"epochs": 1, "progress": False}
            if name not in given or given[name] is MISSING:
                continue
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                positional += given[name]
            elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                named[name] = given[name]
            elif len(positional) == list(parameters).index(name):
                positional.append(given[name])
            else:
                named[name] = given[name]
        made = self.function(*positional, **named)
        if self.name.startswith("MLP") and self.name.endswith(("Classifier", "Regressor")):
            made.fit(rows(4, 2), np.array([0, 1, 1, 0]))  # scikit-learn's estimators check in fit
        return made

    def _valid(self, argument: str) -> Any:
        default = inspect.signature(self.function).parameters[argument].default
        general = MISSING if default is not inspect.Parameter.empty else None
        room = self.name.partition(".")[0]
        make = GIVEN.get(f"{self.name}.{argument}") or GIVEN.get(f"{room}.*.{argument}")
        if make is None and (general is None or argument in ("progress", "engine", "epochs", "seed")):
            make = GIVEN.get(f".{argument}")
            if make is None:
                raise LookupError(f"the sweep has no valid value for {self.name}.{argument}")
        return MISSING if make is None else make()


MISSING: Any = object()


def subjects() -> Iterator[Subject]:
    """Everything public that takes an argument, each function once."""
    seen: set[Any] = set()
    for room, module in MODULES.items():
        for name in _names(module):
            thing = getattr(module, name)
            if isinstance(thing, ModuleType) or not callable(thing) or id(thing) in seen:
                continue
            seen.add(id(thing))
            full = f"{room}.{name}" if room else name
            if full in (*INTERNAL, *ABSTRACT):
                continue
            if not isinstance(thing, type):
                yield Subject(full, (name,), thing, None)
                continue
            if name not in RECORDS and _own_signature(thing):
                yield Subject(full, (name,), thing, None)
            for method, function in inspect.getmembers(thing, inspect.isfunction):
                wanted = not method.startswith("_") or method in SPECIAL
                ours = function.__module__.startswith("scratchnn.")
                if not (wanted and ours) or id(function) in seen or len(_parameters(function)) < 2:
                    continue
                seen.add(id(function))
                make_self = SELF.get(name)
                if make_self is not None:
                    yield Subject(f"{full}.{method}", (name, method), function, make_self)


def _names(module: Any) -> list[str]:
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    here = f"{module.__name__}."
    return sorted(
        n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__.startswith(here)
    )


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def _own_signature(kind: type) -> bool:
    try:
        return bool(inspect.signature(kind).parameters)
    except ValueError:
        return False
