#!/usr/bin/env bash
# Make the GPU models that ship with the package again. DATA: a folder with aiconfigurator-core's tables as
# gemm_bf16_<device>.csv.gz, context_attention_bf16_<device>.csv.gz and encoder_attention_bf16_<device>.csv.gz.
# Usage: PYTHONPATH=src benchmarks/gpu_models.sh DATA
set -euo pipefail
data=$1
own=validation/gpu
out=src/hardplace/cost/gpu/data

fit() {
    local name=$1 table=$2 files=()
    shift 2
    for kind in gemm context_attention encoder_attention; do
        [ -f "$data/${kind}_bf16_$table.csv.gz" ] && files+=("$data/${kind}_bf16_$table.csv.gz")
    done
    python -m hardplace calibrate "${files[@]}" "$@" --device "$name" --out "$out/$name.json.gz" \
        --source "aiconfigurator-core 0.12.0 (PyPI, Apache-2.0, NVIDIA)"
}

few() {
    python -m hardplace calibrate "${@:4}" --device "$1" --relative "$2" --source "$3" --out "$out/$1.json.gz"
}

rm -f "$out"/*.json.gz
fit a100-80gb-sxm a100_sxm $own/streams_a100-80gb-sxm.csv
fit h100-sxm h100_sxm --relative a100-80gb-sxm
fit h200-sxm h200_sxm --relative a100-80gb-sxm
fit b200-sxm b200_sxm $own/streams_b200-sxm.csv --relative a100-80gb-sxm
fit gb200 gb200 --relative a100-80gb-sxm
fit l40s l40s --relative a100-80gb-sxm
fit rtx-pro-6000 rtx_pro_6000_server --relative a100-80gb-sxm
few v100-sxm2 a100-80gb-sxm "DeepBench (Apache-2.0, Baidu)" $own/gemm_v100-sxm2.csv
few t4 v100-sxm2 "DeepBench (Apache-2.0, Baidu)" $own/gemm_t4.csv
few mi210 a100-80gb-sxm "LLMCompass (BSD-3-Clause, Princeton)" $own/gemm_mi210.csv $own/streams_mi210.csv
few a100-80gb-pcie a100-80gb-sxm "SimuMax (Apache-2.0, Moore Threads)" $own/gemm_a100-80gb-pcie.csv
