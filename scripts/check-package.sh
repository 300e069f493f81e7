#!/usr/bin/env bash
# Packs the package, installs it into an empty folder elsewhere, and lets it work there: doctor with each addon, and a short
# training.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$root"
npm pack --silent --pack-destination "$work" >/dev/null
cd "$work"
echo '{"name":"stranger","private":true}' >package.json
npm install --no-audit --no-fund --silent ./fintune-*.tgz
npx fintune doctor
# Each addon of the package loads, with or without a driver, and the table says which is in use.
npx fintune doctor --json >auto.json
FINTUNE_DEVICE=cpu npx fintune doctor --json >cpu.json
# 69 where there is no GPU.
FINTUNE_DEVICE=cuda npx fintune doctor --json >cuda.json || [ $? = 69 ]
node -e '
  const read = (name) => JSON.parse(require("fs").readFileSync(name, "utf8"));
  const used = ({ addon }) => addon.find(({ state }) => state === "loaded")?.kind;
  const there = require("fs").readdirSync("node_modules/fintune/prebuilds", { recursive: true }).some((name) => /cuda.*\.node$/.test(name));
  if (used(read("cpu.json")) !== "prebuilt-cpu" || read("cpu.json").cuda.build !== null) throw new Error("FINTUNE_DEVICE=cpu does not take the CPU addon");
  if (there && (used(read("cuda.json")) !== "prebuilt-cuda" || read("cuda.json").cuda.build === null)) throw new Error("FINTUNE_DEVICE=cuda does not take the CUDA addon");
  if (!there && process.env.FINTUNE_CUDA === "on") throw new Error("the package has no CUDA addon");
  const { library, deviceFile, version } = read("auto.json").driver;
  const expected = there && (library || deviceFile || version) ? "prebuilt-cuda" : "prebuilt-cpu";
  if (used(read("auto.json")) !== expected) throw new Error(`took ${used(read("auto.json"))}, not ${expected}`);
'
cat >rows.jsonl <<'ROWS'
{"prompt":"Is revenue that grew by 12 percent good news? Answer:","completion":" yes"}
{"prompt":"Is a loan in default good news? Answer:","completion":" no"}
ROWS
cat >short.yaml <<'YAML'
name: short
model: tiny
stages:
  - {name: sft, type: sft, data: [{path: rows.jsonl}], lora: {r: 4}, learning_rate: 1.0e-3, batch_size: 2, max_steps: 20}
YAML
npx fintune run short.yaml --json >result.json
node -e '
  const rows = require("fs").readFileSync("runs/short/stages/sft/metrics.jsonl", "utf8").trim().split("\n").map(JSON.parse);
  if (rows.length !== 20 || !(rows[19].loss < rows[0].loss)) throw new Error(`loss ${rows[0].loss} -> ${rows.at(-1).loss} in ${rows.length} steps`);
  require("fs").statSync("runs/short/adapter/adapter_model.safetensors");
'
echo "the packed package trains: $(ls -d runs/short/adapter)"
