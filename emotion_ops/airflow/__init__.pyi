"""The public names and their modules: the one list, read by type checkers and by ``emotion_ops.lazy``."""

from .enrich import EmotionEnrichOperator as EmotionEnrichOperator
from .links import EmotionReportLink as EmotionReportLink
from .shards import EmotionCheckOperator as EmotionCheckOperator
from .shards import EmotionPlanOperator as EmotionPlanOperator
