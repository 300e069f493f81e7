/** `fintune evaluate` of a model through the real command line: killed and gone on, examples before the question, the board's rows. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fintune } from "./cli.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-evaluate-model-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const evaluate = (out: string, more: readonly string[] = [], options: Parameters<typeof fintune>[1] = {}) =>
	fintune(
		["evaluate", "--model", "tiny", "--task", "sc", "ner", "--limit", "12", "--max-new-tokens", "12", "--dtype", "f32"].concat([
			"--threads",
			"1",
			"--batch-size",
			"4",
			"--out",
			join(dir, out),
			...more,
		]),
		{ env: { FINTUNE_DATA: "", XDG_CACHE_HOME: join(dir, "cache") }, ...options },
	);
const contents = (out: string) => {
	const names = readdirSync(join(dir, out), { recursive: true, withFileTypes: true });
	return Object.fromEntries(
		names
			.filter((entry) => entry.isFile())
			.map(({ parentPath, name }) => [name, readFileSync(join(parentPath, name), "utf8")])
			.sort(),
	);
};

describe("evaluate --out", { timeout: 180_000 }, () => {
	it("killed three times, it goes on from the answers that are there and ends with the same bytes", async () => {
		expect((await evaluate("whole")).status).toBe(0);
		let stderr = "";
		for (const answers of [3, 8, 15]) {
			const killed = await evaluate("killed", [], {
				started: (child) => {
					const watch = setInterval(() => {
						if (answersIn("killed") >= answers) child.kill("SIGKILL");
						if (child.exitCode !== null || child.signalCode !== null) clearInterval(watch);
					}, 1);
					child.once("close", () => clearInterval(watch));
				},
			});
			expect(killed.signal ?? killed.status).toBe("SIGKILL");
		}
		const last = await evaluate("killed");
		stderr += last.stderr;
		expect(last.status, stderr).toBe(0);
		expect(stderr).toMatch(/sc: 12 of 12 answers are there already/);
		expect(stderr).toMatch(/ner: \d+ of 12 answers are there already/);
		expect(contents("killed")).toEqual(contents("whole"));
	});

	it("does not take answers of other settings", async () => {
		const other = await evaluate("killed", ["--num-fewshot", "2"]);
		expect(other.status, other.stderr).toBe(0);
		expect(other.stderr).not.toMatch(/there already/);
		const rows = (out: string) => readFileSync(join(dir, out, "generations", "sc.jsonl"), "utf8");
		expect(rows("killed")).not.toBe(rows("whole"));
	});

	it("says what does not fit and what to do", async () => {
		const long = await evaluate("long", ["--num-fewshot", "60"]);
		expect(long.status).toBe(65);
		expect(long.stderr).toMatch(/prompt_truncation/);
		const cut = await evaluate("long", ["--num-fewshot", "60", "--prompt-truncation", "leaderboard", "--task", "sc", "--json"]);
		expect(cut.status, cut.stderr).toBe(0);
		expect(cut.stderr).toMatch(/sc: 12 of 12 prompts cut from the left to fit/);
		expect(JSON.parse(cut.stdout)).toMatchObject({ sc: { n: 12, prompts_cut: 12 } });
		for (const [flag, value] of [
			["--limit", "0"],
			["--limit", "1.5"],
			["--limit-rule", "first"],
		] as const) {
			const bad = await evaluate("bad", [flag, value]);
			expect(bad.status, value).toBe(64);
		}
		expect(existsSync(join(dir, "bad"))).toBe(false);
	});
});

/** Answers that an evaluation under way has written. */
function answersIn(out: string): number {
	let count = 0;
	for (const task of ["sc", "ner"]) {
		const file = join(dir, out, "checkpoints", `${task}.answers.jsonl`);
		if (existsSync(file)) count += Math.max(0, readFileSync(file, "utf8").split("\n").length - 2);
	}
	return count;
}
