/**
 * Splits that the data do not bring: validation as a seeded tenth of train, and train without the texts of test.
 * @module
 */
import { normaliseText } from "../data/normalise.js";
import { SeededRandom } from "../metrics/random.js";
import type { TaskRow } from "./task.js";

/** Seed of every split that fintune makes itself. */
export const splitSeed = 42;

/** The text of a row, for comparing splits: its `text` column, else what the prompt shows between "Text:" and "Answer:". */
export function rowText(row: TaskRow): string {
	return typeof row.doc.text === "string" ? row.doc.text : textInPrompt(row.query);
}

/** What a prompt of the leaderboard shows between "Text:" and "Answer:"; where these are absent, from its start or to its end. */
export function textInPrompt(query: string): string {
	const start = query.lastIndexOf("\nText:");
	const end = query.lastIndexOf("\nAnswer:");
	return query.slice(start < 0 ? 0 : start + "\nText:".length, end > start ? end : undefined);
}

/** `rows` without those whose text is also in `held`, and how many those were. */
export function withoutSharedTexts(rows: readonly TaskRow[], held: readonly TaskRow[]): { rows: TaskRow[]; removed: number } {
	if (held.length === 0) return { rows: [...rows], removed: 0 };
	const texts = new Set(textKeys(held));
	const keys = textKeys(rows);
	const kept = rows.filter((_, i) => !texts.has(keys[i] as string));
	return { rows: kept, removed: rows.length - kept.length };
}

/**
 * Splits train into a tenth for validation and the rest, both in their old order. Rows of one text stay together, so
 * that no validation text is trained on.
 */
export function tenthForValidation(rows: readonly TaskRow[], seed = splitSeed): { train: TaskRow[]; valid: TaskRow[] } {
	const keys = textKeys(rows);
	const sizes = new Map<string, number>();
	for (const key of keys) sizes.set(key, (sizes.get(key) ?? 0) + 1);
	const chosen = new Set<string>();
	const wanted = Math.round(rows.length / 10);
	let count = 0;
	for (const key of new SeededRandom(seed).shuffle([...sizes.keys()])) {
		const size = sizes.get(key) as number;
		if (count + size > wanted) continue;
		chosen.add(key);
		count += size;
		if (count === wanted) break;
	}
	return {
		train: rows.filter((_, i) => !chosen.has(keys[i] as string)),
		valid: rows.filter((_, i) => chosen.has(keys[i] as string)),
	};
}

/** The normalised text of every row; rows of one text (the questions about a headline) are normalised once. */
function textKeys(rows: readonly TaskRow[]): string[] {
	const known = new Map<string, string>();
	return rows.map((row) => {
		const text = rowText(row);
		let key = known.get(text);
		if (key === undefined) {
			key = normaliseText(text);
			known.set(text, key);
		}
		return key;
	});
}
