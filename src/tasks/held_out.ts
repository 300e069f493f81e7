/**
 * The texts of test splits, and the training texts that repeat them.
 *
 * What of a row is compared, and how, by the kind of its task (the leaderboard's categories):
 * - texts (headlines, sentences, articles): the row's text, up to near duplicates;
 * - questions on a page: context and question together, as normalised text. Pages are shared by questions, and questions
 *   ("what was the change in revenue?") by pages, so that nearness of either says nothing;
 * - rows of tables and of prices in words (credit, fraud, stocks): the exact text. They are one template with other
 *   values, and without signs and points other rows would look equal.
 * @module
 */
import { createHash } from "node:crypto";
import { HeldOutIndex, type Match, type MatchKind, shownTexts } from "../data/decontaminate.js";
import type { Row } from "../data/rows.js";
import { FintuneError } from "../errors.js";
import { tasks as allTasks } from "./registry.js";
import { rowText, textInPrompt } from "./splits.js";
import type { Task, TaskRow } from "./task.js";

/** The loosest match between texts of this task that is one. */
export function loosestMatch({ board: { category } }: Task): MatchKind {
	if (category === "RM" || category === "FO") return "exact";
	return category === "QA" ? "normalised" : "near";
}

/** The text of a row that no training row may have. */
export function comparedText(task: Task, row: TaskRow): string {
	return task.board.category === "QA" ? (contextInPrompt(row.query) ?? rowText(row)) : rowText(row);
}

/** Context and question of a prompt of the leaderboard; undefined where it has no context. */
function contextInPrompt(query: string): string | undefined {
	return /(?:^|\n)Context:(.*)\nAnswer:\s*$/s.exec(query)?.[1];
}

/**
 * The texts of a row of a file that are compared: what it shows, and what in it stands where a task's prompt has its text.
 * Texts without a letter or digit say nothing.
 */
export function comparedTexts(row: Row): string[] {
	return [...new Set(shownTexts(row).flatMap(promptTexts))].filter((text) => /[\p{L}\p{N}]/u.test(text));
}

/** A prompt, and the texts in it that a task of the leaderboard would have put there. */
export function promptTexts(prompt: string): string[] {
	const text = textInPrompt(prompt);
	const context = contextInPrompt(prompt);
	// The prompts of credit card fraud put their text into quotes.
	return [prompt, text, text.replace(/^\s*'(.*)'\s*$/s, "$1"), ...(context === undefined ? [] : [context])];
}

/** One text of a test split, with the rows that have it. */
export interface HeldOutEntry {
	task: Task;
	text: string;
	rows: TaskRow[];
}

/** A match with what was matched. */
export interface Hit extends Match {
	entry: HeldOutEntry;
}

/** The test splits of tasks, ready to be compared with. */
export class HeldOut {
	/** Every task with data, and its test rows. */
	readonly sets: readonly { task: Task; rows: readonly TaskRow[] }[];
	/** Distinct texts of each task. */
	readonly entries: readonly HeldOutEntry[];
	#index: HeldOutIndex | undefined;

	constructor(sets: readonly { task: Task; rows: readonly TaskRow[] }[]) {
		this.sets = sets;
		const entries: HeldOutEntry[] = [];
		for (const { task, rows } of sets) {
			const byText = new Map<string, HeldOutEntry>();
			for (const row of rows) {
				const text = comparedText(task, row);
				const known = byText.get(text);
				if (known) known.rows.push(row);
				else byText.set(text, { task, text, rows: [row] });
			}
			entries.push(...byText.values());
		}
		this.entries = entries;
	}

	/** Hash of all that decides what is found, apart from the code. */
	fingerprint(): string {
		const hash = createHash("sha256");
		for (const { task, text } of this.entries) hash.update(`${JSON.stringify([loosestMatch(task), text])}\n`);
		return hash.digest("hex");
	}

	/** Made when it is first asked: it takes most of the time that a small run needs to begin. */
	#indexed(): HeldOutIndex {
		this.#index ??= new HeldOutIndex(this.entries.map(({ task, text }) => ({ text, loosest: loosestMatch(task) })));
		return this.#index;
	}

	/** The test splits of the tasks whose data are in these folders. */
	static async load(dataDirs: readonly string[], tasks: readonly Task[] = allTasks): Promise<HeldOut> {
		const sets: { task: Task; rows: readonly TaskRow[] }[] = [];
		for (const task of tasks) {
			const rows = await loadIfHere(() => task.load("test", dataDirs));
			if (rows) sets.push({ task, rows });
		}
		return new HeldOut(sets);
	}

	/** The held-out texts that any of these texts repeats, each by its strictest match. */
	find(texts: readonly string[], loosest: MatchKind = "near"): Hit[] {
		const found = new Map<number, Match>();
		for (const text of texts) {
			for (const match of this.#indexed().find(text, loosest)) {
				const known = found.get(match.index);
				if (!known || stricter(match, known)) found.set(match.index, match);
			}
		}
		return [...found.values()].map((match) => ({ ...match, entry: this.entries[match.index]! }));
	}
}

const rank: Record<MatchKind, number> = { exact: 0, normalised: 1, near: 2 };

/** Whether a match says more than another: a stricter kind, or more in common. */
export const stricter = (a: Match, b: Match): boolean => rank[a.kind] < rank[b.kind] || (a.kind === b.kind && a.share > b.share);

/** What `load` gives; undefined where the task's data are not installed. */
export async function loadIfHere<T>(load: () => Promise<T>): Promise<T | undefined> {
	try {
		return await load();
	} catch (error) {
		if (error instanceof FintuneError && error.code === "E_TASK_DATA") return undefined;
		throw error;
	}
}
