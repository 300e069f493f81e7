/**
 * Keeping held-out texts out of training data.
 * @module
 */
import { NearDuplicates } from "./near_duplicates.js";
import { normaliseText } from "./normalise.js";
import type { Row, TextOrMessages } from "./rows.js";

/**
 * How a training text repeats a held-out one: the same characters (but for how blanks are written), the same normalised text
 * (`normalise.ts`), or nearly the same (`near_duplicates.ts`). From the strictest to the loosest.
 */
export const matchKinds = ["exact", "normalised", "near"] as const;
export type MatchKind = (typeof matchKinds)[number];

export interface HeldOutText {
	text: string;
	/** The loosest match that counts. Texts made from a template resemble each other without being copies: "exact". */
	loosest: MatchKind;
}

/** A held-out text that a training text repeats. */
export interface Match {
	/** Its place in the list that the index was made of. */
	index: number;
	kind: MatchKind;
	/** Share of its shingles that were found: 1 where it is equal. */
	share: number;
}

/** Finds held-out texts in training texts. */
export class HeldOutIndex {
	readonly #exact = new Map<string, number[]>();
	readonly #normalised = new Map<string, number[]>();
	/** Places of the held-out texts of each text of the near index. */
	readonly #places: number[][] = [];
	readonly #near: NearDuplicates;

	constructor(heldOut: readonly HeldOutText[]) {
		const near = new Map<string, number[]>();
		for (const [index, { text, loosest }] of heldOut.entries()) {
			add(this.#exact, withSingleBlanks(text), index);
			if (loosest === "exact") continue;
			const normalised = normaliseText(text);
			add(this.#normalised, normalised, index);
			if (loosest === "near") add(near, normalised, index);
		}
		this.#near = new NearDuplicates([...near.keys()]);
		this.#places.push(...near.values());
	}

	/**
	 * The held-out texts that this one repeats, each by its strictest match, in the order of the index.
	 * @param loosest the loosest match that counts for this text
	 */
	find(text: string, loosest: MatchKind = "near"): Match[] {
		const found = new Map<number, Match>();
		const note = (indices: readonly number[], kind: MatchKind, share = 1): void => {
			for (const index of indices) if (!found.has(index)) found.set(index, { index, kind, share });
		};
		note(this.#exact.get(withSingleBlanks(text)) ?? [], "exact");
		if (loosest !== "exact") {
			const normalised = normaliseText(text);
			note(this.#normalised.get(normalised) ?? [], "normalised");
			if (loosest === "near")
				for (const { index, share } of this.#near.find(normalised)) note(this.#places[index]!, "near", share);
		}
		return [...found.values()].sort((a, b) => a.index - b.index);
	}
}

const withSingleBlanks = (text: string): string => text.trim().replace(/\s+/g, " ");

function add(places: Map<string, number[]>, text: string, index: number): void {
	const known = places.get(text);
	if (known) known.push(index);
	else places.set(text, [index]);
}

/** What a row shows a model before it answers: the prompt, the turns that are not the assistant's, a plain text. */
export function shownTexts(row: Row): string[] {
	const shown = (value: TextOrMessages): string[] =>
		typeof value === "string" ? [value] : value.filter(({ role }) => role !== "assistant").map(({ content }) => content);
	switch (row.kind) {
		case "tokenised":
		case "tokenised-pair":
			return [];
		case "text":
			return [row.text];
		case "messages":
			return shown(row.messages);
		default:
			return shown(row.prompt);
	}
}

export interface Decontaminated<T> {
	kept: T[];
	/** The rows that were taken out. */
	dropped: T[];
}

/**
 * Takes out the rows whose normalised text is also among the held-out texts. Rows without letters or digits are kept.
 * @param textOf the text of a row that must not be seen in training (of a task: its input, not the prompt around it)
 */
export function decontaminate<T>(rows: Iterable<T>, heldOut: Iterable<string>, textOf: (row: T) => string): Decontaminated<T> {
	const known = new Set<string>();
	for (const text of heldOut) known.add(normaliseText(text));
	known.delete("");
	const result: Decontaminated<T> = { kept: [], dropped: [] };
	for (const row of rows) (known.has(normaliseText(textOf(row))) ? result.dropped : result.kept).push(row);
	return result;
}

/**
 * A test for texts that contain a held-out one somewhere inside, word for word. Linear in the text: held-out texts are
 * found by their first words.
 * @param minWords shorter held-out texts ("total assets") occur anywhere and are not looked for
 */
export function containmentFinder(heldOut: Iterable<string>, minWords = 8): (text: string) => boolean {
	const byOpening = new Map<string, Set<string>>();
	for (const text of heldOut) {
		const words = normaliseText(text).split(" ");
		if (words.length < minWords) continue;
		const opening = words.slice(0, minWords).join(" ");
		const known = byOpening.get(opening);
		if (known) known.add(words.join(" "));
		else byOpening.set(opening, new Set([words.join(" ")]));
	}
	return (text) => {
		const words = normaliseText(text).split(" ");
		for (let i = 0; i + minWords <= words.length; i++) {
			const candidates = byOpening.get(words.slice(i, i + minWords).join(" "));
			if (!candidates) continue;
			const rest = `${words.slice(i).join(" ")} `;
			for (const candidate of candidates) if (rest.startsWith(`${candidate} `)) return true;
		}
		return false;
	};
}
