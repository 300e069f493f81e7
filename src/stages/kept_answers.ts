/**
 * checkpoints/TASK.answers.jsonl: the answers of a task that is under way, for an interrupted evaluation to go on with. A
 * first line says whose answers these are; then one line an answer, each with a hash of its own, because the file grows and
 * nothing else vouches for it.
 * @module
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fromSystemError } from "../errors.js";
import { checkpointsFolder } from "./checkpoint.js";
import type { StageContext } from "./context.js";
import { JsonLinesFile, makeFolder, removeFolder } from "./files.js";

/** What was answered to one row. */
export interface KeptAnswer {
	index: number;
	output_ids: number[];
	finish_reason: "stop" | "length";
}

/** The first line: an answer belongs to this work and to no other. */
export interface KeptHeader {
	identity: string;
	task: string;
	rows: number;
}

/** The answers of one task that are there already, and the file that new ones go to. */
export class KeptAnswers {
	readonly found: ReadonlyMap<number, KeptAnswer>;
	readonly #header: KeptHeader;
	readonly #file: JsonLinesFile;
	#written: Promise<void> = Promise.resolve();
	#failure: unknown;

	private constructor(found: ReadonlyMap<number, KeptAnswer>, header: KeptHeader, file: JsonLinesFile) {
		this.found = found;
		this.#header = header;
		this.#file = file;
	}

	static async open({ folder, identity, log }: StageContext, task: string, rows: number): Promise<KeptAnswers> {
		const path = join(folder, checkpointsFolder, `${task}.answers.jsonl`);
		const header = { identity, task, rows };
		const { answers, unused } = await readKeptAnswers(path, header);
		if (answers.size > 0) log(`${task}: ${answers.size} of ${rows} answers are there already`);
		if (unused !== undefined) log(`${task}: ${path}: ${unused}`);
		await makeFolder(dirname(path));
		const lines = [...answers.values()].map((answer) => vouched(header, answer));
		const file = await JsonLinesFile.create(`${path}.new`, [header, ...lines]);
		await rename(`${path}.new`, path);
		return new KeptAnswers(answers, header, file);
	}

	add(answer: KeptAnswer): void {
		this.#written = this.#written
			.then(() => this.#file.append(vouched(this.#header, answer)))
			.catch((error) => {
				this.#failure ??= error;
			});
	}

	/** @throws what kept an answer from being written */
	async close(): Promise<void> {
		await this.#written;
		await this.#file.close();
		if (this.#failure !== undefined) throw this.#failure;
	}
}

/** Over the header too, so that a line vouches for whose answer it is. */
function vouched(header: KeptHeader, { index, output_ids, finish_reason }: KeptAnswer): KeptAnswer & { sha256: string } {
	const answer = { index, output_ids, finish_reason };
	const sha256 = createHash("sha256")
		.update(JSON.stringify([header, answer]))
		.digest("hex")
		.slice(0, 16);
	return { ...answer, sha256 };
}

/**
 * The answers of a file that are those of this work, by row; none where there is no such file.
 * @returns with `unused`, what was not taken and why; a line that was written in part at the end is not worth a word
 */
export async function readKeptAnswers(
	path: string,
	header: KeptHeader,
): Promise<{ answers: Map<number, KeptAnswer>; unused?: string }> {
	const answers = new Map<number, KeptAnswer>();
	if (!existsSync(path)) return { answers };
	const text = await readFile(path, "utf8").catch((error) => Promise.reject(fromSystemError(error, path)));
	const [first, ...lines] = text.split("\n").slice(0, -1);
	if (first === undefined) return { answers };
	if (first !== JSON.stringify(header)) return { answers, unused: "not used: of other work, or its first line is damaged" };
	for (const line of lines) {
		const answer = verifiedAnswer(line, header);
		if (answer) answers.set(answer.index, answer);
	}
	// A row is answered once, so each line that verifies is an answer.
	const damaged = lines.length - answers.size;
	return { answers, ...(damaged > 0 ? { unused: `${damaged} damaged lines, whose rows are answered again` } : {}) };
}

function verifiedAnswer(line: string, header: KeptHeader): KeptAnswer | undefined {
	try {
		const { sha256: _, ...answer } = JSON.parse(line) as KeptAnswer & { sha256: string };
		return JSON.stringify(vouched(header, answer)) === line ? answer : undefined;
	} catch {
		return undefined;
	}
}

/** Removes what was kept for going on, once the evaluation is whole. */
export const dropKeptAnswers = ({ folder }: StageContext): Promise<void> => removeFolder(join(folder, checkpointsFolder));
