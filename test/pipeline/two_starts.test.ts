import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { stringify } from "yaml";
import { PhiloxStream } from "../../src/philox.js";
import { type Finished, fintune, lines, put } from "../cli/cli.js";
import { wholeLines } from "./interrupted.js";
import { smallSft, tinyModel } from "./tiny.js";

/** The soak tier (test/soak/two_starts.mjs) asks for more. */
const starts = Number(process.env.FINTUNE_SOAK_STARTS ?? 8);
const seed = Number(process.env.FINTUNE_SOAK_SEED ?? 1);
const random = new PhiloxStream(seed, [0, 0]);
const summary: Record<string, unknown> = { starts, seed };

let dir: string;
let pipeline: string;
let weights: Buffer;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-two-"));
	await tinyModel(join(dir, "model"));
	put(join(dir, "rows.jsonl"), lines([{ prompt: "Row 1:", completion: " yes" }]));
	const stage = smallSft({ max_steps: 400, save_steps: 50 });
	pipeline = put(
		join(dir, "p.yaml"),
		stringify({ name: "small", model: "model", device: "cpu", dtype: "f32", threads: 1, stages: [stage] }),
	);
	const { status, stderr } = await fintune(["run", pipeline, "--out", join(dir, "whole")]);
	expect(status, stderr).toBe(0);
	weights = weightsOf(join(dir, "whole"));
});
afterAll(() => {
	rmSync(dir, { recursive: true, force: true });
	const file = process.env.FINTUNE_SOAK_SUMMARY;
	if (file) writeFileSync(file, `${JSON.stringify(summary, null, "\t")}\n`);
});

const weightsOf = (out: string): Buffer => readFileSync(join(out, "adapter", "adapter_model.safetensors"));

interface Start extends Finished {
	pid: number;
	/** From the start of the process to its end. */
	seconds: number;
}

async function start(out: string, started?: (kill: () => void) => void): Promise<Start> {
	const begun = performance.now();
	let pid = 0;
	const finished = await fintune(["run", pipeline, "--out", out], {
		started(child) {
			pid = child.pid!;
			started?.(() => void child.kill("SIGKILL"));
		},
	});
	return { ...finished, pid, seconds: (performance.now() - begun) / 1000 };
}

function expectRefused(refused: Start, out: string, holder: number, what: string): void {
	const line = `^fintune: ${out}: another run holds this folder: pid ${holder} on ${hostname()} since [-0-9:.TZ]+ \\(E_LOCKED\\)\n$`;
	expect(refused.stderr, what).toMatch(new RegExp(line));
	expect(refused, what).toMatchObject({ status: 75, stdout: "" });
	// On a machine that has nothing else to do it is well below a second; the soak tier's summary says what it was.
	expect(refused.seconds, what).toBeLessThan(30);
}

/** Runs began and ended one after the other; only one that was killed has no end. */
function expectInTurn(out: string, runs: string[], what: string): void {
	const events = wholeLines(join(out, "journal.jsonl")).map(({ event }) => event);
	expect(
		events.filter((event) => event === "run" || event === "finished"),
		what,
	).toEqual(runs);
}

it(`of two starts at once, ${starts} times, exactly one runs; every fourth time while the first is killed`, {
	timeout: 24 * 3600_000,
}, async () => {
	const seconds: number[] = [];
	const killed = { secondRefused: 0, secondRan: 0 };
	for (let i = 0; i < starts; i++) {
		const what = `seed ${seed}, start ${i}`;
		const out = join(dir, `both-${i}`);
		if (i % 4 !== 3) {
			const both = await Promise.all([start(out), start(out)]);
			const [ran, refused] = both.sort((a, b) => a.status! - b.status!) as [Start, Start];
			expect(ran.status, `${what}\n${ran.stderr}`).toBe(0);
			expectRefused(refused, out, ran.pid, what);
			expectInTurn(out, ["run", "finished"], what);
			seconds.push(refused.seconds);
		} else {
			// About when the second one comes to the lock: now before, now behind the end of the first.
			const usual = seconds.at(-1)! * 1000;
			const second = await startWhileKilling(out, usual * (0.5 + random.nextUint32() / 2 ** 32));
			if (second.refused) {
				killed.secondRefused += 1;
				expectRefused(second.start, out, second.first.pid, what);
				seconds.push(second.start.seconds);
			} else {
				killed.secondRan += 1;
				expect(second.start.status, `${what}\n${second.start.stderr}`).toBe(0);
			}
			const after = await start(out);
			expect(after.status, `${what}\n${after.stderr}`).toBe(0);
			expectInTurn(out, ["run", "run", "finished", ...(second.refused ? [] : ["run", "finished"])], what);
		}
		expect(weightsOf(out).equals(weights), what).toBe(true);
		rmSync(out, { recursive: true });
	}
	const alone: number[] = [];
	for (let i = 0; i < 5; i++) {
		const begun = performance.now();
		await fintune(["--version"]);
		alone.push((performance.now() - begun) / 1000);
	}
	for (const list of [seconds, alone]) list.sort((a, b) => a - b);
	Object.assign(summary, {
		refused: seconds.length,
		secondsToRefusal: { median: seconds[seconds.length >> 1], most: seconds.at(-1) },
		// What the program needs to start and do nothing, on the machine as it was then.
		secondsToPrintVersion: alone[2],
		underOneSecond: seconds.filter((s) => s < 1).length,
		killed,
	});
});

/** A first run that holds the folder, and a second that starts so many milliseconds before the first is killed. */
async function startWhileKilling(out: string, before: number): Promise<{ first: Start; start: Start; refused: boolean }> {
	let kill = () => {};
	const first = start(out, (k) => {
		kill = k;
	});
	let over = false;
	void first.then(() => {
		over = true;
	});
	// It has said that it runs, and is somewhere in it.
	while (!over && !hasBegun(out)) await sleep(2);
	const second = start(out);
	await sleep(before);
	kill();
	const ends = await Promise.all([first, second]);
	expect(ends[0].signal, `${before} ms, ${ends[0].stderr}`).toBe("SIGKILL");
	return { first: ends[0], start: ends[1], refused: ends[1].status === 75 };
}

function hasBegun(out: string): boolean {
	try {
		return readFileSync(join(out, "journal.jsonl"), "utf8").includes("\n");
	} catch {
		return false;
	}
}
