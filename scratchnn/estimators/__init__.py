"""scikit-learn estimators: its MLP's parameters and attributes, the library's engine.

    from scratchnn import MLPClassifier              # in place of sklearn.neural_network's
    MLPClassifier(random_state=0).fit(X, y).score(X_test, y_test)

The only place, studies apart, that imports scikit-learn.
"""

from .classifier import MLPClassifier
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
