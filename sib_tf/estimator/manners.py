"""What scikit-learn asks of a classifier, without importing it: that takes a second, and heads run without it.

scikit-learn's own base class would be imported with the class. Nothing in its contract needs it: parameters are read
and set by name, tags say what is taken, and what checks rows is imported when there are some.
"""

import inspect


class ClassifierManners:
    """Parameters, tags, score and text of a classifier whose `__init__` keeps its arguments under their names."""

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict:
        """Returns the parameters by name; `deep`, scikit-learn's, changes nothing: no parameter is an estimator."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params):
        """Sets parameters by name, and returns the classifier; raises a ValueError for others."""
        names = self._parameter_names()
        for name, value in params.items():
            if name not in names:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {names!r}.")
            setattr(self, name, value)
        return self

    def score(self, X, y, sample_weight=None) -> float:
        """Returns the accuracy, in [0, 1], of `predict(X)`, rows `[rows, D]`, on their labels y, `[rows]`."""
        from sklearn.metrics import accuracy_score

        return accuracy_score(y, self.predict(X), sample_weight=sample_weight)

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(sparse=True),
        )

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = [
            (name, value) for name, value in self.get_params().items() if not _same(value, defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed)})"


def _same(value, default) -> bool:
    return value is default or (type(value) is type(default) and value == default)
