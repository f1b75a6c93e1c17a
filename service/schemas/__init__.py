"""The documents that the API answers with and the client reads. Their docstrings are what ``/docs`` shows."""

from service.schemas.access import AuditPage, AuditView, WhoAmI
from service.schemas.catalogue import PruningRuleView, SamplerView, TaskView
from service.schemas.comparisons import ComparisonView, PointComparison, PointPage
from service.schemas.data import SweepData, UnreadableData
from service.schemas.health import ClusterView, ComponentView, Liveness, Queue, Readiness
from service.schemas.likeness import MetricLikenessView, SettingDifference, TrialLikeness
from service.schemas.points import PointView, RepeatView
from service.schemas.problem import Advice, Problem
from service.schemas.report import Grid, GridCell, PlanePoint, SweepReport
from service.schemas.sweeps import (
    Counts,
    DeviceHours,
    DryRun,
    Estimate,
    EstimateReason,
    ObjectiveView,
    Progress,
    SecondsRange,
    SweepPage,
    SweepSummary,
    SweepView,
)
from service.schemas.trials import (
    AttemptView,
    CheckpointView,
    EventView,
    LogLine,
    Logs,
    MetricCurve,
    MetricsPoint,
    ModelView,
    SweepCurves,
    TrialCheckpoints,
    TrialMetrics,
    TrialPage,
    TrialView,
)

__all__ = [
    "Advice",
    "AttemptView",
    "AuditPage",
    "AuditView",
    "CheckpointView",
    "ClusterView",
    "ComparisonView",
    "ComponentView",
    "Counts",
    "DeviceHours",
    "DryRun",
    "Estimate",
    "EstimateReason",
    "EventView",
    "Grid",
    "GridCell",
    "Liveness",
    "LogLine",
    "Logs",
    "MetricCurve",
    "MetricLikenessView",
    "MetricsPoint",
    "ModelView",
    "ObjectiveView",
    "PlanePoint",
    "PointComparison",
    "PointPage",
    "PointView",
    "Problem",
    "Progress",
    "PruningRuleView",
    "Queue",
    "Readiness",
    "RepeatView",
    "SamplerView",
    "SecondsRange",
    "SettingDifference",
    "SweepCurves",
    "SweepData",
    "SweepPage",
    "SweepReport",
    "SweepSummary",
    "SweepView",
    "TaskView",
    "TrialCheckpoints",
    "TrialLikeness",
    "TrialMetrics",
    "TrialPage",
    "TrialView",
    "UnreadableData",
    "WhoAmI",
]
