"""The stages in run order. One name in five places: here and in dvc.yaml, params.yaml, stages/, data/, tests/."""

STAGES = (
    "ingest",
    "embed",
    "duplicates",
    "label_noise",
    "curate",
    "class_balance",
    "validate",
    "split",
    "baseline",
    "preflight",
    "pretrain",
    "train",
    "distill",
    "predict",
    "evaluate",
)
