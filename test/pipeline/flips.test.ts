import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PhiloxStream } from "../../src/philox.js";
import { loadPipeline } from "../../src/pipeline/config.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import { everyStage, stagesOfEvery } from "./every_stage.js";
import { artifacts, faultsOf, filesBelow, wholeLines } from "./interrupted.js";

/** The soak tier (test/soak/flips.mjs) asks for more. */
const flips = Number(process.env.FINTUNE_SOAK_FLIPS ?? 30);
const seed = Number(process.env.FINTUNE_SOAK_SEED ?? 1);
const random = new PhiloxStream(seed, [0, 0]);
const summary: Record<string, unknown> = { flips, seed };

let dir: string;
let pipeline: string;
let whole: Record<string, string>;

interface Ran {
	told: Record<string, string>;
	messages: string;
}
/** A run in this process; `crash` ends it there without a word, as a kill would. */
async function run(out: string, crash?: { stage: string; step: number }): Promise<Ran> {
	const messages: string[] = [];
	const progress = {
		update({ stage, step }: { stage: string; step: number }) {
			if (crash && stage.startsWith(crash.stage) && step === crash.step) throw new Error("as if the power had gone");
		},
		message: (line: string) => void messages.push(line),
		end() {},
	};
	const result = await runPipeline(await loadPipeline(pipeline), { out, progress });
	expect(result.exitStatus).toBe(0);
	return { told: Object.fromEntries(result.stages.map((s) => [s.name, s.status])), messages: messages.join("\n") };
}

/** What is damaged: a finished run, and runs that were interrupted in training, in sampling and in an evaluation. */
const bases = {
	finished: undefined,
	training: { stage: "sft", step: 25 },
	sampling: { stage: "synth", step: 4 },
	evaluation: { stage: "final", step: 2 },
} as const;
type Base = keyof typeof bases;

beforeAll(async () => {
	dir = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "fintune-flips-"));
	pipeline = await everyStage(dir);
	for (const [base, crash] of Object.entries(bases)) {
		const running = run(join(dir, base), crash);
		if (crash) await expect(running).rejects.toThrow("as if the power had gone");
		else await running;
	}
	whole = artifacts(join(dir, "finished"));
}, 600_000);
afterAll(() => {
	rmSync(dir, { recursive: true, force: true });
	const file = process.env.FINTUNE_SOAK_SUMMARY;
	if (file) writeFileSync(file, `${JSON.stringify(summary, null, "\t")}\n`);
});

/** What has to happen where a file is damaged. */
type Outcome =
	/** A file of a finished stage: that stage runs again, and the message names the file. */
	| { kind: "repeats"; stage: string }
	/** A file that the interrupted stage goes on with: told, and what was before it is taken. */
	| { kind: "falls back"; stage: string; says: string }
	/** Written anew by every run, or by the stage that goes on; nothing is read from it. */
	| { kind: "made anew" }
	/** Not looked at, because something newer is there. */
	| { kind: "not needed" };

function expected(base: Base, file: string): Outcome {
	const [top, stage, ...rest] = file.split("/");
	if (top !== "stages" || stage === undefined) return file === "journal.jsonl" ? { kind: "not needed" } : { kind: "made anew" };
	const isFinished = existsSync(join(dir, base, "stages", stage, "manifest.json"));
	if (rest[0] === "checkpoints") {
		if (isFinished) return { kind: "not needed" };
		if (rest[1] === "checkpoint-20") return { kind: "falls back", stage, says: "sft: checkpoint-20 is damaged and not used: " };
		return rest[1] === "checkpoint-15" ? { kind: "not needed" } : { kind: "falls back", stage, says: "damaged" };
	}
	if (isFinished) return { kind: "repeats", stage };
	return rest[0] === "tensorboard" ? { kind: "falls back", stage, says: "were damaged, and are cut off" } : { kind: "made anew" };
}

interface Damage {
	text: string;
	/** The end is gone from some place on. */
	cut: boolean;
	/** Only the last byte is another. */
	atEnd: boolean;
}

/** One bit, or the end from some place on. */
function damage(path: string): Damage {
	const bytes = readFileSync(path);
	if (random.nextBelow(4) === 0) {
		const length = random.nextBelow(bytes.length);
		writeFileSync(path, bytes.subarray(0, length));
		return { text: `cut to ${length} of ${bytes.length} bytes`, cut: true, atEnd: length === bytes.length - 1 };
	}
	const bit = random.nextBelow(bytes.length * 8);
	bytes[bit >> 3]! ^= 1 << (bit & 7);
	writeFileSync(path, bytes);
	return { text: `bit ${bit} of ${bytes.length * 8}`, cut: false, atEnd: bit >> 3 === bytes.length - 1 };
}

/** Finished stages but the one that repeats: their files with size and time of the last change. */
function untouched(out: string, but: string | undefined): Record<string, [number, number]> {
	const kept = filesBelow(join(out, "stages")).filter((name) => {
		const [stage] = name.split("/");
		return stage !== but && existsSync(join(out, "stages", stage!, "manifest.json"));
	});
	return Object.fromEntries(
		kept.map((name) => {
			const { size, mtimeMs } = statSync(join(out, "stages", name));
			return [name, [size, mtimeMs]];
		}),
	);
}

/** The events of a damaged journal, without the line that is no JSON any more. */
const readableEvents = (out: string): Record<string, unknown>[] =>
	readFileSync(join(out, "journal.jsonl"), "utf8")
		.split("\n")
		.flatMap((line) => {
			try {
				return [JSON.parse(line)];
			} catch {
				return [];
			}
		});

async function expectMended(base: Base, file: string): Promise<Outcome["kind"]> {
	const out = join(dir, "damaged");
	rmSync(out, { recursive: true, force: true });
	cpSync(join(dir, base), out, { recursive: true, preserveTimestamps: true });
	const path = join(out, file);
	const outcome = expected(base, file);
	const { text, cut, atEnd } = damage(path);
	const what = `seed ${seed}, ${base}: ${file}: ${text}`;
	const before = untouched(out, outcome.kind === "repeats" ? outcome.stage : undefined);
	const { told, messages } = await run(out);

	const ran = stagesOfEvery.filter((name) => told[name] === "done");
	const interrupted = bases[base]?.stage;
	const open = interrupted === undefined ? [] : stagesOfEvery.slice(stagesOfEvery.indexOf(interrupted));
	const repeated = outcome.kind === "repeats" ? [outcome.stage] : [];
	expect(ran, what).toEqual(stagesOfEvery.filter((name) => open.includes(name) || repeated.includes(name)));
	if (outcome.kind === "repeats") {
		expect(messages, what).toContain(`${outcome.stage}: runs again, because a file of it is damaged: ${path}: `);
		const events = wholeLines(join(out, "journal.jsonl")).filter(({ event }) => event === "damaged");
		expect(events, what).toEqual([
			expect.objectContaining({ stage: outcome.stage, file: file.slice(`stages/${outcome.stage}/`.length) }),
		]);
	}
	// A file that grows may end anywhere: without its end it looks as if that had not been written yet.
	const looksUnfinished = (file.endsWith(".answers.jsonl") && (cut || atEnd)) || (file.includes("/tensorboard/") && cut);
	if (outcome.kind === "falls back" && !looksUnfinished) expect(messages, what).toContain(outcome.says);
	if (outcome.kind === "falls back" && file.includes("checkpoint-20/")) expect(messages, what).toContain("goes on after step 15");

	expect(artifacts(out), what).toEqual(whole);
	if (file === "journal.jsonl") expect(readableEvents(out).at(-1), what).toMatchObject({ event: "finished", status: "done" });
	else expect(await faultsOf(out), what).toEqual([]);
	const after = untouched(out, undefined);
	for (const [name, facts] of Object.entries(before)) expect(after[name], `${what}: ${name} was overwritten`).toEqual(facts);
	return outcome.kind;
}

it(`${flips} times one bit flipped or a file cut, in every file of finished and interrupted runs in turn`, {
	timeout: 24 * 3600_000,
}, async () => {
	const files = (Object.keys(bases) as Base[]).flatMap((base) =>
		filesBelow(join(dir, base))
			// The lock's file says who ran last, for people; it may be empty.
			.filter((file) => statSync(join(dir, base, file)).size > 0)
			.map((file) => ({ base, file })),
	);
	// Of an interrupted run only what differs from the finished one: the stage that is open, and the files of the run.
	const worth = files.filter(({ base, file }) => {
		const interrupted = bases[base]?.stage;
		return interrupted === undefined || file.startsWith(`stages/${interrupted}/`) || dirname(file) === ".";
	});
	summary.files = worth.length;
	const counts: Record<string, number> = {};
	let left: typeof worth = [];
	for (let i = 0; i < flips; i++) {
		if (left.length === 0) left = [...worth];
		const [{ base, file }] = left.splice(random.nextBelow(left.length), 1) as [(typeof worth)[0]];
		const kind = await expectMended(base, file);
		counts[kind] = (counts[kind] ?? 0) + 1;
	}
	summary.outcomes = counts;
	expect(counts.repeats).toBeGreaterThan(0);
	expect(counts["falls back"]).toBeGreaterThan(0);
});
