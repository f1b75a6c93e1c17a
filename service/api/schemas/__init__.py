"""The documents that the API answers with. Their docstrings and descriptions are what ``/docs`` shows."""

from service.api.schemas.access import AuditPage, AuditView, WhoAmI
from service.api.schemas.catalogue import PruningRuleView, SamplerView, TaskView
from service.api.schemas.comparisons import ComparisonView, PointComparison, PointPage
from service.api.schemas.data import SweepData, UnreadableData
from service.api.schemas.health import ClusterView, ComponentView, Liveness, Queue, Readiness
from service.api.schemas.likeness import MetricLikenessView, SettingDifference, TrialLikeness
from service.api.schemas.points import PointView, RepeatView
from service.api.schemas.problem import Advice, Problem
from service.api.schemas.report import Grid, GridCell, PlanePoint, SweepReport
from service.api.schemas.sweeps import (
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
from service.api.schemas.trials import (
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
