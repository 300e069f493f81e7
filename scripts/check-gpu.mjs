#!/usr/bin/env node
/**
 * npm run check:gpu: every op and golden on a GPU against the CPU, equal bits over many repetitions, compute-sanitizer where
 * it is on the PATH, then both benchmarks; one JSON document on stdout. Needs Node, the built addon, dist/ and this
 * repository. Exit status: 0 all right, 70 something is wrong (named on stderr), 69 no GPU, 64 a wrong option.
 */
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const usage = `node scripts/check-gpu.mjs [options] > check-gpu.json
  --device D              cuda (default), cuda:N, cpu or simt: the same checks anywhere
  --size SIZE             full: real shapes (default); small: seconds on a CPU; sanitizer: what the sanitizer sees, without it
  --dtype T               f32, bf16 or fp16 (repeatable; default: all that the device has)
  --only SECTION          ops, goldens, repeats, sanitizer or bench (repeatable; default: all)
  --op NAME               of the ops, only this one (repeatable)
  --sanitizer PROGRAM     default: compute-sanitizer, where it is on the PATH and the device is a GPU
  --allow-fallback-gemm   do not fail where cuBLASLt is absent, or does not offer a product
`;
const sections = ["ops", "goldens", "repeats", "sanitizer", "bench"];

const say = (text) => process.stderr.write(`check:gpu: ${text}\n`);
function stop(status, text) {
	say(text);
	process.exit(status);
}

let flags;
try {
	({ values: flags } = parseArgs({
		options: {
			device: { type: "string", default: "cuda" },
			size: { type: "string", default: "full" },
			dtype: { type: "string", multiple: true },
			only: { type: "string", multiple: true, default: sections },
			op: { type: "string", multiple: true },
			sanitizer: { type: "string" },
			"allow-fallback-gemm": { type: "boolean", default: false },
			help: { type: "boolean", default: false },
		},
	}));
} catch (error) {
	stop(64, `${error.message}\n${usage}`);
}
if (flags.help) {
	process.stdout.write(usage);
	process.exit(0);
}
const unknown = (name, all) => stop(64, `${name}: expected ${all.join(", ")}\n${usage}`);
const sizeNames = ["full", "small", "sanitizer"];
if (!sizeNames.includes(flags.size)) unknown(`--size ${flags.size}`, sizeNames);
if (flags.size === "sanitizer" && (flags.only.includes("bench") || flags.only.includes("sanitizer")))
	stop(64, `--size sanitizer has the sections ops, goldens and repeats: name them with --only\n${usage}`);
for (const name of flags.only) if (!sections.includes(name)) unknown(`--only ${name}`, sections);
for (const name of flags.dtype ?? [])
	if (!["f32", "bf16", "fp16"].includes(name)) unknown(`--dtype ${name}`, ["f32", "bf16", "fp16"]);
if (!existsSync(join(root, "dist", "index.js"))) stop(69, "dist/ is not there: npm run build");

const { opTable } = await import("./check/op_table.mjs");
const opNames = opTable.map(({ name }) => name);
for (const name of flags.op ?? []) if (!opNames.includes(name)) unknown(`--op ${name}`, opNames);

const { describeDevice, checkGemm, findDevice } = await import("./check/machine.mjs");
let device;
try {
	const found = findDevice(flags.device);
	if (found.why) stop(69, found.why);
	device = found.device;
} catch (error) {
	stop(error.exitStatus ?? 69, error.message);
}
const { sizes } = await import("./check/sizes.mjs");
const size = sizes[flags.size];
// The CPU has no fp16, and a GPU before sm_80 no bf16.
const dtypes = flags.dtype ?? [
	"f32",
	...(device.bf16 || device.kind === "cpu" ? ["bf16"] : []),
	...(device.kind === "cpu" ? [] : ["fp16"]),
];
const fixtures = join(root, "test", "fixtures", "hf");
const started = performance.now();
const records = [];
const document = { check_gpu: 1, device: describeDevice(device), size: flags.size, dtypes, sections: flags.only };
const progress = (section) => (text) => say(`${section}: ${text}`);

const work = {
	async ops() {
		const { checkOps } = await import("./check/ops.mjs");
		const names = dtypes.map((dtype) => (dtype === "fp16" ? "f16" : dtype));
		records.push(
			...checkOps({
				device: device.name,
				dtypes: names,
				shapes: size.shapes,
				real: size.real,
				hopper: device.hopper,
				only: flags.op,
				onProgress: progress("ops"),
			}),
		);
	},
	async goldens() {
		const { checkOpGoldens } = await import("./check/op_goldens.mjs");
		records.push(...(await checkOpGoldens({ device: device.name, fixtures, onProgress: progress("goldens") })));
		const { checkGoldens } = await import("./check/goldens.mjs");
		records.push(
			...(await checkGoldens({ device: device.name, dtypes, fixtures, steps: size.steps, onProgress: progress("goldens") })),
		);
	},
	async repeats() {
		const { checkRepeats } = await import("./check/repeats.mjs");
		const options = { ...size.repeats, device: device.name, dtypes, times: size.times, fixtures };
		records.push(...(await checkRepeats({ ...options, onProgress: progress("repeats") })));
	},
	async sanitizer() {
		const { checkSanitizer, findSanitizer } = await import("./check/sanitizer.mjs");
		const program = flags.sanitizer || device.kind === "cuda" ? findSanitizer(flags.sanitizer) : undefined;
		if (flags.sanitizer && !program) stop(69, `${flags.sanitizer} does not run`);
		document.sanitizer = program ?? null;
		if (!program) return say("sanitizer: not run, compute-sanitizer is not on the PATH");
		// Ops alone, training steps and decoding from recorded graphs; of ops that are named, only these.
		const part = flags.op ? ["ops"] : ["ops", "goldens", "repeats"];
		const args = [
			...["--device", device.name, "--size", "sanitizer", "--allow-fallback-gemm"],
			...part.flatMap((name) => ["--only", name]),
			...dtypes.flatMap((d) => ["--dtype", d]),
			...(flags.op ?? []).flatMap((name) => ["--op", name]),
		];
		records.push(...checkSanitizer({ program, script: fileURLToPath(import.meta.url), args, onProgress: progress("sanitizer") }));
	},
	async bench() {
		const { checkBenches, runBenches } = await import("./check/benches.mjs");
		document.bench = await runBenches({ device, size, onProgress: progress("bench") });
		records.push(...checkBenches(document.bench));
	},
};

for (const section of sections.filter((name) => flags.only.includes(name))) {
	const before = performance.now();
	try {
		await work[section]();
	} catch (error) {
		// A fault in one section must not hide what the others find.
		records.push({ check: section, result: "ran", error: error.stack ?? String(error), ok: false });
	}
	say(`${section}: ${((performance.now() - before) / 1000).toFixed(1)} s`);
}

// Products in half precision of sizes that the library is meant for were made by these.
const multiplied =
	flags.size === "full" &&
	!flags.op &&
	dtypes.some((dtype) => dtype !== "f32") &&
	flags.only.some((name) => ["ops", "bench"].includes(name));
records.push(...checkGemm(device, { allowFallback: flags["allow-fallback-gemm"], expected: multiplied }));

const failed = records.filter(({ ok }) => !ok);
process.stdout.write(
	`${JSON.stringify({ ...document, seconds: (performance.now() - started) / 1000, checks: records.length, failed: failed.length, passed: failed.length === 0, records }, null, 1)}\n`,
);
for (const { ok: _ok, ...record } of failed.slice(0, 50)) say(`WRONG ${JSON.stringify(record)}`);
say(`${records.length} checks, ${failed.length} wrong`);
process.exitCode = failed.length === 0 ? 0 : 70;
