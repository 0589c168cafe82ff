#!/usr/bin/env bash
# Codes of one black image from a server: keras-vq serve codec/ --port 8080 --name codec
set -euo pipefail
url="${1:-http://127.0.0.1:8080/v2/models/codec/infer}"
pixels="$(printf '0,%.0s' $(seq 784))"
curl --silent --fail-with-body "$url" --header 'Content-Type: application/json' --data '{
  "parameters": {"signature": "encode"},
  "inputs": [{"name": "inputs", "datatype": "FP32", "shape": [1, 28, 28, 1], "data": ['"${pixels%,}"']}]
}'
echo
