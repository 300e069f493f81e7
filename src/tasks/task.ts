/**
 * What a leaderboard task is: where its rows come from, what its prompt and answer are, and how answers are scored.
 * One file per task (or family) implements this; `registry.ts` lists them.
 * @module
 */
import type { ConfusionMatrix } from "../metrics/classification.js";
import type { BoardEntry } from "./board.js";

/** One row of a task: the prompt a model sees, the answer it should give, and what scoring needs to know. */
export interface TaskRow {
	/** The prompt, exactly as the leaderboard sends it. */
	query: string;
	/** The gold answer as text, without the blank that joins it to the query and without EOS. */
	answer: string;
	/** The columns that scoring reads: choices, gold, label, text, label_type ... (leaderboard schema). */
	doc: Record<string, unknown>;
	/** Where the row stands in the user's files (1-based line of the file that the row was read from). */
	source: { file: string; line: number };
}

export type Split = "train" | "valid" | "test";

/** Scores of one set of generations over one set of documents. */
export interface TaskScores {
	/** Number of documents scored. */
	n: number;
	/** Every aggregate as the leaderboard's own code computes it; null where that code crashes (see `errors`). */
	leaderboard: Record<string, number | null>;
	/** The same aggregates by the corrected rules of this task (`Task.strictRules` says which). */
	strict: Record<string, number | null>;
	/** Metric name (prefixed "strict." for the corrected ones) to the reason why it is null. */
	errors: Record<string, string>;
	/** The headline metric (leaderboard rules) with its 95 % bootstrap percentile interval over documents. */
	interval?: { metric: string; low: number; high: number };
	/** The same for the strict rules. */
	strictInterval?: { metric: string; low: number; high: number };
	/** How often each answer was taken for each gold label, by the leaderboard's rule; tasks whose answers are labels. */
	confusion?: ConfusionMatrix;
	/** The same by the corrected rule. */
	strictConfusion?: ConfusionMatrix;
	/** Per document and metric, what the leaderboard reports for that document alone where it has such a value (acc, missing ...). */
	perDocument?: Record<string, (number | null)[]>;
}

/** How much a loader removed or changed, so that nothing is lost silently. */
export interface LoadReport {
	/** The file or files that the rows came from, in reading order. */
	files: string[];
	/** Reason to number of rows, e.g. { "text also in test": 16 }. */
	removed: Record<string, number>;
}

export interface LoadOptions {
	/**
	 * Keep the rows whose text is also in test, for a caller that looks for them itself (`held_out.ts`). A derived
	 * validation split stays as it is and has none of them. Default false.
	 */
	keepTestTexts?: boolean;
}

export interface Task {
	/** Short name, e.g. "ner". */
	readonly name: string;
	/** The leaderboard's registry id, e.g. "flare_ner". */
	readonly id: string;
	readonly title: string;
	/** SPDX-like licence of the data. */
	readonly license: string;
	/** Where a user gets the data. */
	readonly howToGet: string;
	/** True where the licence lets us ship the data. */
	readonly redistributable: boolean;
	/** The metric shown in tables, e.g. "entity_f1". */
	readonly headline: string;
	readonly metrics: Record<string, { higherIsBetter: boolean }>;
	/** What the leaderboard's maintainers generate at most: their own runs' value, else the harness's 256. */
	readonly defaultMaxNewTokens: number;
	/** One paragraph: how the strict score departs from the leaderboard's. */
	readonly strictRules: string;
	/**
	 * Rows of a split. `dataDirs` are searched in order (`data_dirs.ts` `taskDataDirs` makes the usual list).
	 * `valid` of a task whose data has none is a seeded tenth of train, and train is then the rest (`splits.ts`).
	 * Rows of train and valid whose text is also in test are removed and counted (`loadWithReport`).
	 * @throws FintuneError E_TASK_DATA naming every folder searched and how to get the data
	 */
	load(split: Split, dataDirs: readonly string[]): Promise<TaskRow[]>;
	/** As `load`, with the files read and the count of rows removed by reason. */
	loadWithReport(
		split: Split,
		dataDirs: readonly string[],
		options?: LoadOptions,
	): Promise<{ rows: TaskRow[]; report: LoadReport }>;
	/** Whether `load` can serve the split at all (a derived `valid` counts). */
	hasSplit(split: Split): boolean;
	/**
	 * Corpus scores; `outputs[i]` is the raw output for `docs[i]` (stripping is the scorer's business).
	 * @param options `bootstrap: 0` leaves the intervals out; the default is 1,000 resamples with seed 0
	 * @throws FintuneError E_SCORING when a document lacks a column that scoring reads, or the lengths differ
	 */
	score(docs: readonly Record<string, unknown>[], outputs: readonly string[], options?: ScoreOptions): TaskScores;
	/**
	 * A metric, the headline unless said, as a function of a multiset of documents, for a paired test between two systems
	 * (`metrics/bootstrap.ts` `pairedBootstrap`). Work per document is done once; the returned function only re-aggregates.
	 * @returns a function from row indices (repeats allowed) to the metric; NaN where it is undefined
	 */
	metricOver(
		docs: readonly Record<string, unknown>[],
		outputs: readonly string[],
		scoring: "leaderboard" | "strict",
		metric?: string,
	): (indices: ArrayLike<number>) => number;
	/** Names of the data set's original files that its rows can be built from; none: rows come from the hub only. */
	readonly originalFiles: readonly string[];
	/** Rows of a split from the original files in a folder, nothing removed; undefined where they are not there. */
	readOriginal(split: Split, folder: string): Promise<TaskRow[] | undefined>;
	/** Columns that scoring reads, and that every row of the hub must have. */
	readonly columns: readonly string[];
	/** Its entry in the leaderboard's list. */
	readonly board: BoardEntry;
	/** Where documents are turns of dialogues, and prompts of later turns hold the model's earlier outputs. */
	readonly followUp?: {
		place(doc: Record<string, unknown>): { dialogue: string; turn: number };
		/** @throws FintuneError E_DATA_FORMAT where the query cannot be filled */
		query(query: string, turn: number, earlier: readonly string[]): string;
	};
	/** The answers that self-training may cut out of a chain of thought, in stored order; undefined for free text. */
	readonly labels?: readonly string[];
}

export interface ScoreOptions {
	/** Bootstrap resamples for the intervals; 0 leaves them out. Default 1,000. */
	bootstrap?: number;
	/** Seed of the bootstrap. Default 0. */
	seed?: number;
}
