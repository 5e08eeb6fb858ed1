"""The stages in run order; the same names stand in dvc.yaml, params.yaml, stages/, data/ and tests/."""

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
    "ablate",
    "distill",
    "predict",
    "evaluate",
    "release",
)

SECTIONS = (*STAGES, "tune")
"""The sections of params.yaml: the stages', and that of the command `assay tune`."""
