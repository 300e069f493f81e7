/**
 * Looks at a run folder after a power cut with the readers that the next run uses: whether what counts as finished or saved
 * is what it really was, and whether what the journal told of is there.
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { RunFolder } from "../../src/pipeline/folder.js";
import { Checkpoints } from "../../src/stages/checkpoint.js";
import { readKeptAnswers } from "../../src/stages/kept_answers.js";
import { manifestName, verifiedManifest } from "../../src/stages/manifest.js";
import { filesBelow, wholeLines } from "../pipeline/interrupted.js";

/** What really was. */
export interface Truth {
	/** By folder below the run: every text that its manifest had when it was written. */
	manifests: ReadonlyMap<string, ReadonlySet<string>>;
	/** By stage: every answer that was kept, as JSON. */
	answers: ReadonlyMap<string, ReadonlySet<string>>;
	/** The journal at this moment as the programs saw it. */
	journal: string;
	/** By path below the run: every file of the undisturbed run. */
	files: ReadonlyMap<string, Buffer>;
}

type Event = Record<string, unknown> & { event: string; stage?: string; step?: number };

/** What is wrong with a run folder as a power cut left it. */
export async function faultsAfterPowerCut(run: string, truth: Truth): Promise<string[]> {
	const faults: string[] = [];
	if (existsSync(run)) await new RunFolder(run).create();
	else if (truth.journal.split("\n").length > 2) return ["the run folder is gone"];
	else return [];

	const events = journalAfter(run, truth.journal, faults);
	const stages = readdirSync(join(run, "stages"));
	for (const stage of stages) {
		await manifested(run, join("stages", stage), truth, faults);
		await expectRealAnswers(run, stage, truth, faults);
	}
	await expectPromises(run, events, truth, faults);
	expectWholeDocuments(run, faults);
	return faults;
}

/**
 * A folder with a manifest is whole, and the one that was written.
 * @returns whether it has a manifest and is so
 */
async function manifested(run: string, folder: string, truth: Truth, faults: string[]): Promise<boolean> {
	const manifest = await verifiedManifest(join(run, folder));
	if (manifest === undefined) return false;
	if ("why" in manifest) {
		faults.push(`${folder} has a manifest and is not whole: ${manifest.file}: ${manifest.why}`);
		return false;
	}
	const real = truth.manifests.get(folder)?.has(readFileSync(join(run, folder, manifestName), "utf8")) === true;
	if (!real) faults.push(`${folder} was never finished like this`);
	return real;
}

/** Every answer that would be taken over was really given. */
async function expectRealAnswers(run: string, stage: string, truth: Truth, faults: string[]): Promise<void> {
	const folder = join(run, "stages", stage, "checkpoints");
	if (!existsSync(folder)) return;
	for (const name of readdirSync(folder)) {
		if (!name.endsWith(".answers.jsonl")) continue;
		const [first] = readFileSync(join(folder, name), "utf8").split("\n");
		if (!first?.startsWith("{") || !first.endsWith("}")) continue;
		const { answers } = await readKeptAnswers(join(folder, name), JSON.parse(first));
		for (const answer of answers.values()) {
			if (!truth.answers.get(stage)?.has(JSON.stringify(answer))) {
				faults.push(`${name} of ${stage}: row ${answer.index} never had this answer`);
			}
		}
	}
}

/** The journal is a beginning of the real one that lacks at most the event which was being written. */
function journalAfter(run: string, real: string, faults: string[]): Event[] {
	const path = join(run, "journal.jsonl");
	if (!existsSync(path)) {
		if (real.split("\n").length > 2) faults.push("the journal is gone");
		return [];
	}
	const text = readFileSync(path, "utf8");
	if (!real.startsWith(text)) {
		faults.push("the journal holds what was never written");
		return [];
	}
	if (text.split("\n").length < real.split("\n").length - 1) faults.push("events of the journal are gone that were synced");
	return text === "" ? [] : (wholeLines(path) as Event[]);
}

/** What the journal and result.json tell of is there. */
async function expectPromises(run: string, events: readonly Event[], truth: Truth, faults: string[]): Promise<void> {
	const finished = new Set<string>();
	const saved = new Map<string, number>();
	for (const { event, stage, step } of events) {
		if (stage === undefined) continue;
		if (event === "done" || event === "reused") finished.add(stage);
		if (event === "started") {
			finished.delete(stage);
			saved.delete(stage);
		}
		if (event === "checkpoint" || event === "resumed") saved.set(stage, step!);
	}
	for (const stage of finished) {
		const record = await new RunFolder(run).finished(stage, 1);
		if (record === undefined || "why" in record) faults.push(`${stage} was finished and is not`);
	}
	for (const [stage, step] of saved) {
		const newest = await newestCheckpoint(run, stage, truth, faults);
		if (newest === undefined || newest < step) faults.push(`${stage}: checkpoint-${step} was saved, found ${newest}`);
	}
	const result = join(run, "result.json");
	// One that is not whole is a fault of its own.
	if (existsSync(result) && /"status": "done"/.test(readFileSync(result, "utf8"))) {
		for (const [name, bytes] of truth.files) {
			if (!name.startsWith("adapter/")) continue;
			const there = join(run, name);
			if (!existsSync(there) || !readFileSync(there).equals(bytes)) faults.push(`the run is done and ${name} is not whole`);
		}
	}
}

/** The step of the newest checkpoint that a run would go on from. */
async function newestCheckpoint(run: string, stage: string, truth: Truth, faults: string[]): Promise<number | undefined> {
	const folder = join(run, "stages", stage, "checkpoints");
	const names = existsSync(folder) ? readdirSync(folder).filter((name) => /^checkpoint-\d+$/.test(name)) : [];
	const whole: string[] = [];
	for (const name of names)
		if (await manifested(run, join("stages", stage, "checkpoints", name), truth, faults)) whole.push(name);
	if (whole.length === 0) return undefined;
	const { work, environment } = JSON.parse(readFileSync(join(folder, whole[0]!, "trainer_state.json"), "utf8"));
	const warn = (message: string): void => void faults.push(`${stage}: ${message}`);
	return (await new Checkpoints(folder, work, environment, 2, warn).newest())?.checkpoint.state.step;
}

/** What bears the name of a document is one; status.json changes all the time, and nothing depends on it. */
function expectWholeDocuments(run: string, faults: string[]): void {
	for (const name of filesBelow(run)) {
		if (!name.endsWith(".json") || name === "status.json" || /\.tmp(\/|$)/.test(name)) continue;
		try {
			JSON.parse(readFileSync(join(run, name), "utf8"));
		} catch {
			faults.push(`${name} is not whole`);
		}
	}
}
