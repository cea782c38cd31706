# The report as a graph: measurements of each codec, then the notebooks, then their pages.  `make report` runs it here;
# on a cluster the same graph runs by a flag: snakemake --executor slurm --jobs 16 (snakemake-executor-plugin-slurm).
#
# A measurement is a job of one core.  What reports times of two cores (notebooks 04 and 06, the papers' sizes) has them
# alone.

import re
from pathlib import Path

from codec_lib import datasets, registry
from codec_lib.datasets import ROOT
from codec_lib.evaluation import measurements, provenance
from codec_lib.report import execution
from codec_lib.weights import weight_files
from codec_lib.weights.cards import card_path

DATASET = config.get("dataset", "kodak")
SECOND = datasets.second_beside(DATASET)
SETS = {Path(name).name: name for name in (DATASET, SECOND) if name}
AUTOENCODERS = sorted(path.stem for path in Path("data/weights").glob("ae-*.safetensors"))
PAPERS = [measurements.stem(name, "paper", quality) for name in registry.PRIORS for quality in weight_files.available(name, preset="paper")]
PRIORS = [measurements.stem(name, "compact", quality) for name in registry.PRIORS for quality in weight_files.available(name, preset="compact")]
TORCHAC = [measurements.stem(name, "compact", 0, "torchac") for name, entry in registry.PRIORS.items() if not entry.load().order.many]
READS = {
    "00_autoencoders": [*AUTOENCODERS, *(name for name in PRIORS if name.startswith("factorized")), "jpeg"],
    "03_hyperprior": [*PAPERS, *(name.replace("-paper-", "-compact-") for name in PAPERS)],
    "05_evaluation": [*PRIORS, *TORCHAC, *measurements.curves(), measurements.TIMES],
}
AFTER = {"05_evaluation": ["build/report/00_autoencoders.ipynb"]}  # it compares the tables of notebook 00, too
TIMED = ["04_autoregressive", "06_beyond_the_reports"]
BOTH = ["05_evaluation"]  # of the second test set, too


def manifest(*names):
    return sorted({str(datasets.manifest_path(name).relative_to(ROOT)) for name in names if name in datasets.NAMES})


def measured(stem):
    """What a notebook reads: of the second set the shared transforms at the report's rates, by the default coder, but no times."""
    left_out = ("-q0", "-q5", ".torchac", measurements.TIMES)
    both = [name for name in READS.get(stem, []) if not name.endswith(left_out)]
    second = both if SECOND and stem in BOTH else []
    of = {Path(DATASET).name: READS.get(stem, []), SECOND: second}
    return [f"build/measured/{dataset}/{name}.csv" for dataset, names in of.items() for name in names]


def code(*modules):
    return [str(path.relative_to(ROOT)) for path in provenance.sources(*modules)]


def for_notebook(wildcards):
    notebook = Path("notebooks") / f"{wildcards.stem}.ipynb"
    own = [path.relative_to(ROOT) for path in execution.sources(ROOT / notebook)]
    files = [path.relative_to(ROOT) for path in execution.weight_files_of(wildcards.stem)]
    weights = [*files, *map(card_path, files)]
    return [*own, *code("report.execution"), *manifest(*SETS.values()), *weights, *AFTER.get(wildcards.stem, []), *measured(wildcards.stem)]


wildcard_constraints:
    stem="[0-9]{2}_[a-z_]+",
    weights="[a-z0-9-]+-q[0-9]+",
    set="|".join(map(re.escape, SETS)),


rule report:
    input: "build/report/index.html"


def weights_of(wildcards):
    """The file that a measurement is of, and that of its transforms."""
    own, _ = measurements.weights_of(wildcards.weights)
    return [str(path.relative_to(ROOT)) for path in (own, weight_files.holder_of(own)) if path]


rule codec:
    input: weights_of, code("evaluation.evaluation"), lambda w: manifest(SETS[w.set])
    output: "build/measured/{set}/{weights}{coder,(.[a-z]+)?}.csv"
    params: dataset=lambda w: SETS[w.set]
    shell: "OMP_NUM_THREADS={threads} python -m codec_lib.evaluation.measurements {wildcards.weights}{wildcards.coder} --dataset {params.dataset:q}"


rule classical:
    input: code("evaluation.classical"), lambda w: manifest(SETS[w.set])
    output: "build/measured/{set}/{name," + "|".join(measurements.curves()) + "}.csv"
    params: dataset=lambda w: SETS[w.set]
    shell: "OMP_NUM_THREADS={threads} python -m codec_lib.evaluation.measurements {wildcards.name} --dataset {params.dataset:q}"


rule times:
    input: code("evaluation.timing"), manifest(DATASET), sorted(map(str, Path("data/weights").glob("*-paper.safetensors")))
    output: f"build/measured/{Path(DATASET).name}/{measurements.TIMES}.csv"
    threads: workflow.cores
    shell: "OMP_NUM_THREADS={threads} python -m codec_lib.evaluation.measurements {measurements.TIMES} --dataset {DATASET:q}"


rule notebook:
    input: for_notebook
    output: "build/report/{stem}.ipynb"
    threads: lambda wildcards: workflow.cores if wildcards.stem in TIMED else 1
    shell: "OMP_NUM_THREADS={threads} python -m codec_lib.report.pages {wildcards.stem} --only execution --dataset {DATASET:q} --second={SECOND:q} --measured build/measured"


rule page:
    input: "build/report/{stem}.ipynb", code("report.pages")
    output: "build/report/{stem}.html"
    shell: "python -m codec_lib.report.pages {wildcards.stem} --only page"


rule index:
    input: expand("build/report/{stem}.html", stem=execution.stems()), code("report.pages")
    output: "build/report/index.html"
    shell: "python -m codec_lib.report.pages index --dataset {DATASET:q}"
