import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PhiloxStream } from "../../src/philox.js";
import { type Finished, fintune } from "../cli/cli.js";
import { artifacts, faultsOf, smoke, stagesOfSmoke, wholeLines } from "./interrupted.js";

/** The soak tier (test/soak/kill.mjs) asks for more, each in a run of its own. */
const kills = Number(process.env.FINTUNE_SOAK_KILLS ?? 12);
const killsPerRun = process.env.FINTUNE_SOAK_KILLS ? 1 : 6;
const stops = Number(process.env.FINTUNE_SOAK_STOPS ?? 3);
const seed = Number(process.env.FINTUNE_SOAK_SEED ?? 1);
const random = new PhiloxStream(seed, [0, 0]);
/** Between 0 and 1. */
const share = () => random.nextUint32() / 2 ** 32;
const summary: Record<string, unknown> = { kills, stops, seed };

let dir: string;
let whole: Record<string, string>;
/** Of an undisturbed run, from its start to its end. */
let milliseconds: number;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-kill-"));
	const out = join(dir, "whole");
	const begun = performance.now();
	const { status, stderr } = await fintune(smoke(out));
	expect(status, stderr).toBe(0);
	milliseconds = performance.now() - begun;
	whole = artifacts(out);
	summary.seconds = milliseconds / 1000;
}, 600_000);
afterAll(() => {
	rmSync(dir, { recursive: true, force: true });
	const file = process.env.FINTUNE_SOAK_SUMMARY;
	if (file) writeFileSync(file, `${JSON.stringify(summary, null, "\t")}\n`);
});

/** Runs smoke.yaml and signals the process so long after its start, or after its run has begun. */
async function interrupted(out: string, signal: NodeJS.Signals, after: number, sinceRunBegan = false) {
	const timing = { sent: 0, seconds: 0 };
	let ended = false;
	const result = await fintune(smoke(out), {
		started: (child) => {
			const send = async () => {
				while (sinceRunBegan && !ended && !existsSync(join(out, "journal.jsonl"))) await sleep(5);
				await sleep(after);
				if (ended) return;
				timing.sent = performance.now();
				child.kill(signal);
			};
			child.on("exit", () => {
				ended = true;
				if (timing.sent) timing.seconds = (performance.now() - timing.sent) / 1000;
			});
			void send();
		},
	});
	return { ...result, ...timing };
}
/** The machine is less busy than it was: a run ended before its instant came, which does not count. */
const wasOverBefore = (): void => {
	milliseconds *= 0.8;
};

/** The stage in which a run was interrupted. */
function stageOf(out: string): string {
	if (!existsSync(join(out, "journal.jsonl"))) return "before the run";
	const { event, stage } = wholeLines(join(out, "journal.jsonl")).at(-1)!;
	return typeof stage === "string" ? `${stage} (${event})` : `${event}`;
}
async function expectWhole(out: string, last: Finished, what: string): Promise<void> {
	expect(last.status, `${what}\n${last.stderr}`).toBe(0);
	expect(artifacts(out), what).toEqual(whole);
	expect(await faultsOf(out), what).toEqual([]);
}

it("configs/smoke.yaml has one stage of every type, and none of them is skipped", () => {
	const { status, stages } = JSON.parse(readFileSync(join(dir, "whole", "result.json"), "utf8"));
	expect(status).toBe("done");
	expect(stages.map((s: { name: string; status: string }) => `${s.name} ${s.status}`)).toEqual(
		stagesOfSmoke.map((name) => `${name} done`),
	);
	expect(new Set(stages.map((s: { type: string }) => s.type)).size).toBe(5);
	expect(Object.keys(whole).length).toBeGreaterThan(30);
});

describe("kill -9", () => {
	it(`at ${kills} random instants: the run that follows ends with the same bytes`, { timeout: 24 * 3600_000 }, async () => {
		const where: Record<string, number> = {};
		for (let done = 0, i = 0; done < kills; i++) {
			const out = join(dir, `killed-${i}`);
			for (let k = 0; k < killsPerRun && done < kills; k++) {
				// Where one run is killed several times, it comes further each time.
				const { signal, status } = await interrupted(out, "SIGKILL", (share() * milliseconds) / Math.sqrt(killsPerRun));
				if (signal === null) {
					expect(status, `kill ${done}`).toBe(0);
					wasOverBefore();
					break;
				}
				done += 1;
				const place = stageOf(out);
				where[place] = (where[place] ?? 0) + 1;
				// What bears a name is whole at every moment.
				for (const name of ["result.json", "status.json"]) {
					if (existsSync(join(out, name))) JSON.parse(readFileSync(join(out, name), "utf8"));
				}
			}
			await expectWhole(out, await fintune(smoke(out)), `run ${i}: ${JSON.stringify(where)}`);
			rmSync(out, { recursive: true });
		}
		summary.killedIn = where;
	});
});

describe("SIGTERM, SIGINT and SIGHUP", () => {
	it(`at ${stops} random instants: 75 soon after, and the same bytes in the end`, { timeout: 24 * 3600_000 }, async () => {
		const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
		const times: number[] = [];
		for (let i = 0; times.length < stops; i++) {
			const out = join(dir, `stopped-${i}`);
			const name = signals[i % 3]!;
			const result = await interrupted(out, name, share() * milliseconds * 0.9, true);
			const what = `stop ${i}, ${stageOf(out)}: ${result.stderr}`;
			if (result.status === 0) wasOverBefore();
			else {
				expect(result.status, what).toBe(75);
				expect(result.stderr).toMatch(new RegExp(`stopped by ${name}[\\s\\S]*run the same command again.*\\(E_ABORTED\\)\n$`));
				expect(JSON.parse(readFileSync(join(out, "result.json"), "utf8")).status).toBe("stopped");
				times.push(result.seconds);
			}
			await expectWhole(out, await fintune(smoke(out)), what);
			rmSync(out, { recursive: true });
		}
		summary.secondsToStop = { most: Math.max(...times), mean: times.reduce((a, b) => a + b, 0) / times.length };
	});

	it("in training: a checkpoint of the step that was done, and the journal says so", async () => {
		const out = join(dir, "stopped-in-training");
		let sent = false;
		const stopped = await fintune([...smoke(out), "--set", "stages.base.save_steps=1000", "--set", "stages.base.max_steps=400"], {
			onStderr(text, child) {
				if (sent || !/base {2}step/.test(text)) return;
				sent = true;
				child.kill("SIGTERM");
			},
		});
		expect(stopped.status, stopped.stderr).toBe(75);
		const [checkpoint] = readdirSync(join(out, "stages", "base", "checkpoints"));
		const step = Number(/^checkpoint-(\d+)$/.exec(checkpoint!)?.[1]);
		expect(wholeLines(join(out, "stages", "base", "metrics.jsonl")).at(-1)!.step).toBe(step);
		const events = wholeLines(join(out, "journal.jsonl"));
		expect(events.find((e) => e.event === "checkpoint")).toMatchObject({ stage: "base", iteration: 1, step, reason: "stopped" });
		expect(events.at(-1)).toMatchObject({ event: "finished", status: "stopped" });
	});

	it("twice: the second ends the process at once", async () => {
		const out = join(dir, "twice");
		let sent = false;
		const { status, stderr } = await fintune(smoke(out), {
			onStderr(text, child) {
				if (sent || !/base {2}step/.test(text)) return;
				sent = true;
				child.kill("SIGTERM");
				child.kill("SIGINT");
			},
		});
		// 128 + the number of the signal that came second: which of two that wait comes first is the kernel's choice.
		expect([128 + 2, 128 + 15], stderr).toContain(status);
		expect(JSON.parse(readFileSync(join(out, "status.json"), "utf8")).status).toBe("running");
	});
});
