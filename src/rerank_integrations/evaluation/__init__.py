"""Measures whether reranking pays: compares models with no reranking on judged queries.

Every name is imported when it is first used. Needs the extra `evaluation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerank_integrations import lazy_attributes

if TYPE_CHECKING:
    from rerank_integrations.evaluation._dataset import (
        Dataset as Dataset,
        Judgments as Judgments,
        Problem as Problem,
    )
    from rerank_integrations.evaluation._evaluate import evaluate as evaluate
    from rerank_integrations.evaluation._evaluation import (
        Change as Change,
        Comparison as Comparison,
        Evaluation as Evaluation,
    )
    from rerank_integrations.evaluation._results import (
        FirstStage as FirstStage,
        Latency as Latency,
        Measured as Measured,
        ModelResult as ModelResult,
        Outcome as Outcome,
        Pair as Pair,
        Verdict as Verdict,
    )
    from rerank_integrations.evaluation._sample import read_labels as read_labels, sample as sample
    from rerank_integrations.evaluation._studies import Threshold as Threshold

__getattr__, __dir__, __all__ = lazy_attributes(
    __name__,
    {
        "_dataset": "Dataset Judgments Problem",
        "_evaluate": "evaluate",
        "_evaluation": "Change Comparison Evaluation",
        "_results": "FirstStage Latency Measured ModelResult Outcome Pair Verdict",
        "_sample": "read_labels sample",
        "_studies": "Threshold",
    },
)
