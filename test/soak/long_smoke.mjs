/**
 * configs/smoke.yaml made longer, for schedulers to meet it while it runs.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");
export const main = join(root, "dist", "cli", "main.js");
export const pipeline = join(root, "configs", "smoke.yaml");
export const stages = ["base", "sft", "probe", "dpo", "synth", "final"];

/** Options of a run that takes about so long here, measured by a short one. */
export function lasting(seconds) {
	const folder = mkdtempSync(join(tmpdir(), "fintune-measure-"));
	const steps = 40;
	const args = [main, "run", pipeline, "--out", folder, "--set", `stages.sft.max_steps=${steps}`];
	const run = spawnSync(process.execPath, args, { encoding: "utf8" });
	if (run.status !== 0) throw new Error(`the measuring run ended with ${run.status}: ${run.stderr}`);
	const measured = JSON.parse(readFileSync(join(folder, "result.json"), "utf8")).stages;
	rmSync(folder, { recursive: true });
	const whole = measured.reduce((sum, stage) => sum + stage.seconds, 0);
	const sft = measured.find((stage) => stage.name === "sft").seconds;
	const wanted = Math.ceil((steps * Math.max(seconds - whole + sft, sft)) / sft);
	return ["--set", `stages.sft.max_steps=${wanted}`, "--set", "stages.sft.save_steps=50"];
}

/** What `fintune schedule` prints. */
export function printed(scheduler, args, cwd) {
	const { status, stdout, stderr } = spawnSync(process.execPath, [main, "schedule", scheduler, ...args], {
		encoding: "utf8",
		cwd,
	});
	if (status !== 0) throw new Error(stderr);
	return stdout;
}

/** The journal of a run as far as its lines are whole. */
export function journalOf(folder) {
	const text = readFileSync(join(folder, "journal.jsonl"), "utf8");
	return text
		.slice(0, text.lastIndexOf("\n") + 1)
		.split("\n")
		.filter(Boolean)
		.map((line) => JSON.parse(line));
}
