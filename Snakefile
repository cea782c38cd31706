# The report as a graph: measurements of each codec, then the notebooks, then their pages.  `make report` runs it here;
# on a cluster the same graph runs by a flag: snakemake --executor slurm --jobs 16 (snakemake-executor-plugin-slurm).
#
# A measurement is a job of one core.  What reports times of two cores (notebook 04, the papers' sizes) has them alone.

from pathlib import Path

from codec_lib.datasets import NAMES, ROOT
from codec_lib.evaluation import measurements, provenance
from codec_lib.report import execution

DATASET = config.get("dataset", "kodak")
MEASURED = f"build/measured/{Path(DATASET).name}"
DATA = [f"data/{DATASET}.csv"] if DATASET in NAMES else []
WEIGHTS = sorted(path.stem for path in Path("data/weights").glob("*.safetensors"))
FOUR = [name for name in WEIGHTS if not name.startswith("ae-")]
TORCHAC = [f"{name}.torchac" for name in FOUR if name.endswith("-q1") and not name.startswith("joint")]
READS = {
    "00_autoencoders": [name for name in WEIGHTS if name not in FOUR or name.startswith("factorized")] + ["jpeg"],
    "05_evaluation": [*FOUR, *TORCHAC, *measurements.CLASSICAL, measurements.TIMES],
}
AFTER = {"05_evaluation": ["build/report/00_autoencoders.ipynb"]}  # it compares the tables of notebook 00, too
TIMED = ["04_autoregressive"]


def code(*modules):
    return [str(path.relative_to(ROOT)) for path in provenance.sources(*modules)]


def for_notebook(wildcards):
    notebook = Path("notebooks") / f"{wildcards.stem}.ipynb"
    own = [path.relative_to(ROOT) for path in execution.sources(ROOT / notebook)]
    cards = [path.relative_to(ROOT) for path in execution.cards(wildcards.stem)]
    weights = [*cards, *(path.with_suffix(".safetensors") for path in cards)]
    return [*own, *code("report.execution"), *DATA, *weights, *AFTER.get(wildcards.stem, []), *(f"{MEASURED}/{name}.csv" for name in READS.get(wildcards.stem, []))]


wildcard_constraints:
    stem="[0-9]{2}_[a-z_]+",
    weights="[a-z0-9-]+-q[0-9]+",


rule report:
    input: "build/report/index.html"


rule codec:
    input: "data/weights/{weights}.safetensors", code("evaluation.evaluation"), DATA
    output: MEASURED + "/{weights}{coder,(.[a-z]+)?}.csv"
    shell: "OMP_NUM_THREADS={threads} python -m codec_lib.evaluation.measurements {wildcards.weights}{wildcards.coder} --dataset {DATASET}"


rule classical:
    input: code("evaluation.classical"), DATA
    output: MEASURED + "/{name," + "|".join(measurements.CLASSICAL) + "}.csv"
    shell: "OMP_NUM_THREADS={threads} python -m codec_lib.evaluation.measurements {wildcards.name} --dataset {DATASET}"


rule times:
    input: code("evaluation.timing"), DATA
    output: MEASURED + f"/{measurements.TIMES}.csv"
    threads: workflow.cores
    shell: "OMP_NUM_THREADS={threads} python -m codec_lib.evaluation.measurements {measurements.TIMES} --dataset {DATASET}"


rule notebook:
    input: for_notebook
    output: "build/report/{stem}.ipynb"
    threads: lambda wildcards: workflow.cores if wildcards.stem in TIMED else 1
    shell: "OMP_NUM_THREADS={threads} python -m codec_lib.report.pages {wildcards.stem} --only execution --dataset {DATASET} --measured build/measured"


rule page:
    input: "build/report/{stem}.ipynb", code("report.pages")
    output: "build/report/{stem}.html"
    shell: "python -m codec_lib.report.pages {wildcards.stem} --only page"


rule index:
    input: expand("build/report/{stem}.html", stem=execution.stems()), code("report.pages")
    output: "build/report/index.html"
    shell: "python -m codec_lib.report.pages index --dataset {DATASET}"
