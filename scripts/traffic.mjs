/**
 * npm run traffic: what every CUDA kernel moves at a small shape of real widths, counted on the host executor:
 * bench/traffic.json. `--op NAME` shows one op (of the part that matches) and writes nothing; `--lines` also shows the
 * source lines that take more than they must. Needs the test addon and dist/ (scripts/setup.mjs --tests).
 */
import { writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const recorded = join(root, "bench", "traffic.json");

/** Shapes of Qwen2.5-0.5B (896, heads of 64) and 1.5B (1536, heads of 128), few tokens. `sm`: 80 unless said. */
const half = ["bf16", "f32"];
export const cases = [
	{ op: "embedding_forward", shape: "T=128,V=1024,D=896", dtypes: half },
	{ op: "embedding_backward", shape: "T=128,V=1024,D=896", dtypes: ["f32"] },
	{ op: "rmsnorm_forward", shape: "T=128,D=896", dtypes: half },
	{ op: "rmsnorm_forward", shape: "T=128,D=1536", dtypes: half },
	{ op: "rmsnorm_backward", shape: "T=128,D=896", dtypes: half },
	{ op: "rmsnorm_backward", shape: "T=128,D=1536", dtypes: half },
	{ op: "linear_forward", shape: "T=128,IN=896,OUT=896,R=16", dtypes: ["bf16"] },
	{ op: "linear_forward", shape: "T=128,IN=896,OUT=896,R=16", dtypes: ["f16"], sm: 75 },
	{ op: "linear_forward", shape: "T=64,IN=896,OUT=128,R=16", dtypes: ["f32"] },
	{ op: "linear_forward", shape: "T=1536,IN=64,OUT=1024,R=0", dtypes: ["bf16"] },
	{ op: "linear_backward", shape: "T=128,IN=896,OUT=896,R=16", dtypes: ["bf16"] },
	{ op: "linear_backward", shape: "T=128,IN=896,OUT=896,R=16", dtypes: ["f16"], sm: 75 },
	{ op: "linear_backward", shape: "T=64,IN=896,OUT=128,R=16", dtypes: ["f32"] },
	{ op: "linear_rows", shape: "T=4,IN=896,OUT=896,R=0", dtypes: half },
	{ op: "linear_rows", shape: "T=4,IN=896,OUT=896,R=0", dtypes: ["f16"], sm: 75 },
	{ op: "rope_forward", shape: "T=128,S=128,H=14,K=64", dtypes: half },
	{ op: "rope_forward", shape: "T=128,S=128,H=12,K=128", dtypes: half },
	{ op: "rope_backward", shape: "T=128,S=128,H=12,K=128", dtypes: half },
	{ op: "attention_forward", shape: "T=128,S=128,H=14,G=2,K=64", dtypes: ["bf16"] },
	{ op: "attention_forward", shape: "T=128,S=128,H=12,G=2,K=128", dtypes: ["bf16"] },
	{ op: "attention_forward", shape: "T=128,S=128,H=12,G=2,K=128", dtypes: ["bf16"], sm: 86 },
	{ op: "attention_forward", shape: "T=128,S=128,H=12,G=2,K=128", dtypes: ["f16"], sm: 75 },
	{ op: "attention_forward", shape: "T=64,S=64,H=12,G=2,K=128", dtypes: ["f32"] },
	{ op: "attention_backward", shape: "T=128,S=128,H=14,G=2,K=64", dtypes: ["bf16"] },
	{ op: "attention_backward", shape: "T=128,S=128,H=12,G=2,K=128", dtypes: ["bf16"] },
	{ op: "attention_backward", shape: "T=128,S=128,H=12,G=2,K=128", dtypes: ["bf16"], sm: 86 },
	{ op: "attention_backward", shape: "T=128,S=128,H=12,G=2,K=128", dtypes: ["f16"], sm: 75 },
	{ op: "attention_backward", shape: "T=64,S=64,H=12,G=2,K=128", dtypes: ["f32"] },
	{ op: "attention_decode", shape: "N=4,L=300,H=14,G=2,K=64", dtypes: half },
	{ op: "attention_decode", shape: "N=4,L=300,H=12,G=2,K=128", dtypes: half },
	{ op: "swiglu_forward", shape: "T=32,F=4864", dtypes: half },
	{ op: "swiglu_backward", shape: "T=32,F=4864", dtypes: half },
	{ op: "gather_rows", shape: "T=128,N=64,D=896", dtypes: ["f32"] },
	{ op: "scatter_rows", shape: "T=128,N=64,D=896", dtypes: ["f32"] },
	{ op: "store_rows", shape: "N=64,G=2,K=128", dtypes: half },
	{ op: "linear_logprob_forward", shape: "T=64,V=2048,D=896", dtypes: ["bf16"] },
	{ op: "linear_logprob_backward", shape: "T=64,V=2048,D=896", dtypes: ["bf16"] },
	{ op: "global_norm", shape: "P=200000,C=4", dtypes: ["f32"] },
	{ op: "adamw", shape: "P=200000,C=4", dtypes: ["f32"] },
	{ op: "sample_greedy", shape: "N=2,V=151936", dtypes: ["f32"] },
	{ op: "sample_draw", shape: "N=2,V=151936", dtypes: ["f32"] },
].flatMap(({ dtypes, sm = 80, ...rest }) => dtypes.map((dtype) => ({ ...rest, dtype, sm })));

/** Decoding's linear, whose few rows the benchmark of linears does not have. */
function prepareRows({ T, IN, OUT }, dtype, tensors, kernels) {
	const [x, weight] = [tensors.normal([T, IN], dtype), tensors.normal([OUT, IN], dtype)];
	const y = tensors.zeros([T, OUT], dtype);
	return { run: () => kernels.loraLinear(x, weight, { compute: dtype, rowwise: true, y }) };
}

/**
 * What one case moves, a record a kernel. `using`: kernels, opBenches, parseShape and BenchTensors of src/ or dist/.
 * `lines`: with the source lines that take more than they must.
 */
export function measure({ kernels, opBenches, parseShape, BenchTensors }, { op, shape, dtype, sm }, lines = false) {
	kernels.simt.setCapability(sm);
	kernels.setDevice("simt");
	const tensors = new BenchTensors();
	try {
		const rows = op === "linear_rows";
		const bench = opBenches.find(({ name }) => name === (rows ? "linear_forward" : op));
		const sizes = parseShape(bench, shape);
		const prepared = rows ? prepareRows(sizes, dtype, tensors, kernels) : bench.prepare(sizes, dtype, tensors);
		prepared.reset?.();
		const cost = ({ taken, least }) => ({ taken, least });
		return kernels.simt
			.trafficOf(() => prepared.run(), lines)
			.map((k) => ({
				op,
				shape,
				dtype,
				sm,
				kernel: k.kernel,
				launches: k.launches,
				wavefronts: cost(k.shared),
				sectors: cost(k.global),
				read: { taken: k.bytesRead, least: k.differentRead },
				written: { taken: k.bytesWritten, least: k.differentWritten },
				...(lines ? { lines: k.lines } : {}),
			}));
	} finally {
		tensors.dispose();
		kernels.setDevice("cpu");
	}
}

const quantities = ["wavefronts", "sectors", "read", "written"];
/** How many times the least is taken; 1 where nothing is. */
export const factor = ({ taken, least }) => (least > 0 ? taken / least : 1);
const key = ({ op, shape, dtype, sm, kernel }) => `${op} ${shape} ${dtype} sm_${sm}: ${kernel}`;

/** What moves more than recorded, or is not recorded, as lines; empty: all is well. */
export function compare(found, known) {
	const before = new Map(known.map((record) => [key(record), record]));
	return found.flatMap((record) => {
		const old = before.get(key(record));
		if (!old) return [`${key(record)}: not recorded`];
		return quantities
			.filter((name) => factor(record[name]) > factor(old[name]) * 1.001)
			.map(
				(name) =>
					`${key(record)}: ${name} ${factor(record[name]).toFixed(3)} times the least, ${factor(old[name]).toFixed(3)} recorded`,
			);
	});
}

/** One line a kernel, so that a diff shows what changed. */
export function render(records) {
	const withFactors = (record) =>
		Object.fromEntries(
			Object.entries(record).map(([name, value]) =>
				quantities.includes(name) ? [name, { ...value, factor: Number(factor(value).toFixed(3)) }] : [name, value],
			),
		);
	return `[\n${records.map((record) => `\t${JSON.stringify(withFactors(record))}`).join(",\n")}\n]\n`;
}

function text(record) {
	const one = (name) => {
		const { taken, least } = record[name];
		return least > 0 ? `${name} ${taken} / ${least} = ${factor(record[name]).toFixed(3)}` : "";
	};
	const lines = (record.lines ?? []).map((l) => `    ${l.line} ${l.memory} ${l.access} ${l.taken} / ${l.least}\n`);
	return `${key(record)}: ${quantities.map(one).filter(Boolean).join(", ")}\n${lines.join("")}`;
}

async function main() {
	const { values } = parseArgs({ options: { op: { type: "string" }, lines: { type: "boolean", default: false } } });
	process.env.FINTUNE_NATIVE ??= join(root, "build", "simt", "fintune.node");
	const { kernels } = await import("../dist/engine/kernels.js");
	if (!kernels.simt) throw new Error("this addon has no device simt: node scripts/setup.mjs --tests");
	const { opBenches } = await import("../dist/bench/registry.js");
	const { parseShape } = await import("../dist/bench/op.js");
	const { BenchTensors } = await import("../dist/bench/tensors.js");
	const using = { kernels, opBenches, parseShape, BenchTensors };
	const records = [];
	for (const one of cases.filter(({ op }) => !values.op || op.includes(values.op))) {
		const found = measure(using, one, values.lines);
		for (const record of found) process.stderr.write(text(record));
		records.push(...found);
	}
	if (values.op || values.lines) return;
	writeFileSync(recorded, render(records));
	process.stderr.write(
		`fintune traffic: wrote ${relative(root, recorded)}: ${records.length} kernels at ${cases.length} shapes\n`,
	);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) await main();
