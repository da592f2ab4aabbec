"""The public names and their modules: the one list, read by type checkers and by ``emotion_ops.lazy``."""

from .emotions import EmotionEnrichOperator as EmotionEnrichOperator
from .enrich import EnrichOperator as EnrichOperator
from .links import EnrichReportLink as EnrichReportLink
from .shards import CheckShardsOperator as CheckShardsOperator, PlanShardsOperator as PlanShardsOperator
