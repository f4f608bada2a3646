"""What the checks are about: a component with everything that is made of it, each part when it is
first needed.
"""

from ftr.testing.subjects.component import Component
from ftr.testing.subjects.dataset import DatasetSubject
from ftr.testing.subjects.head import HeadSubject
from ftr.testing.subjects.metric import MetricSubject
from ftr.testing.subjects.model import ModelSubject
from ftr.testing.subjects.task import TaskSubject

__all__ = [
    "Component",
    "DatasetSubject",
    "HeadSubject",
    "MetricSubject",
    "ModelSubject",
    "TaskSubject",
]
