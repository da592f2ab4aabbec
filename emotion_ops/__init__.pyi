"""The public names and their modules: the one list, read by type checkers and by ``emotion_ops.lazy``."""

from .errors import (
    ColumnError as ColumnError,
)
from .errors import (
    ColumnExistsError as ColumnExistsError,
)
from .errors import (
    ColumnNotFoundError as ColumnNotFoundError,
)
from .errors import (
    ColumnTypeError as ColumnTypeError,
)
from .errors import (
    DatasetError as DatasetError,
)
from .errors import (
    DestinationBusyError as DestinationBusyError,
)
from .errors import (
    DestinationConflictError as DestinationConflictError,
)
from .errors import (
    EmotionOpsError as EmotionOpsError,
)
from .errors import (
    ErrorBudgetExceededError as ErrorBudgetExceededError,
)
from .errors import (
    FrameTypeError as FrameTypeError,
)
from .errors import (
    GateClosedError as GateClosedError,
)
from .errors import (
    MissingDependencyError as MissingDependencyError,
)
from .errors import (
    ModelError as ModelError,
)
from .errors import (
    ModelNotFoundError as ModelNotFoundError,
)
from .errors import (
    OperatorError as OperatorError,
)
from .errors import (
    OptionError as OptionError,
)
from .errors import (
    RowError as RowError,
)
from .errors import (
    RowErrorCode as RowErrorCode,
)
from .errors import (
    RowFailedError as RowFailedError,
)
from .errors import (
    UnsafeWeightsError as UnsafeWeightsError,
)
from .errors import (
    UnsupportedModelError as UnsupportedModelError,
)
from .faces.detector import (
    find_faces as find_faces,
)
from .images.decoding import (
    Decoding as Decoding,
)
from .images.limits import (
    Limits as Limits,
)
from .integrations.frames.appending import (
    append_columns as append_columns,
)
from .integrations.frames.appending import (
    classify_emotions as classify_emotions,
)
from .integrations.frames.exploding import (
    explode_faces as explode_faces,
)
from .integrations.frames.preview import (
    preview as preview,
)
from .integrations.frames.preview import (
    preview_rows as preview_rows,
)
from .io.access import (
    Access as Access,
)
from .lake.audit.clean import (
    CleanReport as CleanReport,
)
from .lake.audit.clean import (
    clean_destination as clean_destination,
)
from .lake.audit.diff import (
    diff_datasets as diff_datasets,
)
from .lake.audit.status import (
    DatasetStatus as DatasetStatus,
)
from .lake.audit.status import (
    dataset_status as dataset_status,
)
from .lake.audit.verify import (
    VerifyReport as VerifyReport,
)
from .lake.audit.verify import (
    verify_dataset as verify_dataset,
)
from .lake.enrich import (
    enrich_dataset as enrich_dataset,
)
from .lake.gate import (
    Gate as Gate,
)
from .models.engines.int8 import (
    Int8 as Int8,
)
from .operators.base import (
    TableOperator as TableOperator,
)
from .operators.classify.faces import (
    Faces as Faces,
)
from .operators.classify.labels import (
    EMOTIONS as EMOTIONS,
)
from .operators.classify.labels import (
    Labels as Labels,
)
from .operators.classify.operator import (
    ClassifyEmotions as ClassifyEmotions,
)
from .operators.image_operator import (
    ImageOperator as ImageOperator,
)
from .operators.resources import (
    Cache as Cache,
)
from .operators.resources import (
    Resources as Resources,
)
from .operators.rows import (
    PartResults as PartResults,
)
from .operators.rows import (
    Parts as Parts,
)
from .operators.rows import (
    Row as Row,
)
from .reports.comparison import (
    DiffReport as DiffReport,
)
from .reports.report import (
    EnrichReport as EnrichReport,
)
from .version import (
    __version__ as __version__,
)
