"""The public names and their modules: the one list, read by type checkers and by ``emotion_ops.lazy``."""

from .errors import (
    ColumnError as ColumnError,
    ColumnExistsError as ColumnExistsError,
    ColumnNotFoundError as ColumnNotFoundError,
    ColumnTypeError as ColumnTypeError,
    DatasetError as DatasetError,
    DestinationBusyError as DestinationBusyError,
    DestinationConflictError as DestinationConflictError,
    EmotionOpsError as EmotionOpsError,
    ErrorBudgetExceededError as ErrorBudgetExceededError,
    FrameTypeError as FrameTypeError,
    GateClosedError as GateClosedError,
    MissingDependencyError as MissingDependencyError,
    ModelError as ModelError,
    ModelNotFoundError as ModelNotFoundError,
    OperatorError as OperatorError,
    OptionError as OptionError,
    RowError as RowError,
    RowErrorCode as RowErrorCode,
    RowFailedError as RowFailedError,
    UnsafeWeightsError as UnsafeWeightsError,
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
    classify_emotions as classify_emotions,
)
from .integrations.frames.exploding import (
    explode_faces as explode_faces,
)
from .integrations.frames.preview import (
    preview as preview,
    preview_rows as preview_rows,
)
from .io.access import (
    Access as Access,
)
from .lake.audit.clean import (
    CleanReport as CleanReport,
    clean_destination as clean_destination,
)
from .lake.audit.diff import (
    diff_datasets as diff_datasets,
)
from .lake.audit.status import (
    DatasetStatus as DatasetStatus,
    dataset_status as dataset_status,
)
from .lake.audit.verify import (
    VerifyReport as VerifyReport,
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
    Resources as Resources,
)
from .operators.rows import (
    PartResults as PartResults,
    Parts as Parts,
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
