/**
 * Which held-out texts a training text nearly repeats.
 *
 * **Definition.** Texts are compared as the words of their normalised form, by their sets of shingles (Broder 1997): here
 * two neighbouring words. A held-out text A of at least six words is nearly in a training text B where either
 * 1. *contained*: some stretch of B of at most 1.5 times A's words holds 3/4 of A's shingles, or
 * 2. *cut short*: B has six words or more, 3/4 of B's shingles are in A, and they are half of A's or more;
 * and, in both cases, 3/4 of the different numbers (words with a digit) of the text that is contained are in the other.
 *
 * Why so: evaluation harnesses call a document contaminated that shares a run of 13 words with a test text (Brown et al.
 * 2020, appendix C; lm-eval's decontamination), which never happens to a headline of 6 to 20 words, and does happen to
 * contracts that share a clause. Two words a shingle and 3/4 of them stand one changed word in nine and any text put
 * before or after, in short texts and long ones. Numbers are asked for apart since financial texts are often one
 * sentence with other figures: "net sales rose 3 % to EUR 13.1 mn" and "net sales rose 4 % to EUR 12.2 mn" are two facts.
 * The stretch keeps a long document from collecting a headline's word pairs here and there.
 *
 * *Boilerplate* proves nothing: shingles inside a run of 8 words that more than 10 held-out texts have ("enter your email
 * address below to receive a concise daily summary") are not among A's, as Brown et al. ignore runs that occur more than
 * 10 times. A text of which fewer than five shingles are left is only compared as a whole.
 *
 * The search is exact: containment is counted over sets, not estimated by MinHash. Held-out texts are found by their
 * rarest shingles: whoever shares half of a set shares one of any (half and one) of it (prefix filtering, Chaudhuri et
 * al. 2006).
 * @module
 */
import { boilerplateStarts, boilerplateWords } from "./boilerplate.js";
import { PairNumbers } from "./pair_numbers.js";

/** Texts of fewer words are only compared as a whole. */
export const nearMinWords = 6;
/** The share of the contained text's shingles, and of its numbers, that must be found. */
export const nearShare = 0.75;
/** The least share of a held-out text that a training text cut out of it must hold. */
export const cutShare = 0.5;
/** The longest stretch of a training text in which a held-out one is looked for, in words of the latter. */
export const nearStretch = 1.5;

/** A held-out text that is nearly in a training text. */
export interface NearMatch {
	/** Place of the held-out text in the list that the index was made of. */
	index: number;
	/** Share of its shingles that were found. */
	share: number;
}

interface Entry {
	index: number;
	words: number;
	/** Shingle numbers, each once. */
	shingles: Int32Array;
	/** Word numbers of the words with a digit. */
	numbers: Int32Array;
	/** The last search that met this text. */
	search: number;
}

/** The texts that a shingle is among the rarest of. */
interface Posting {
	/** Rare enough for every match to have one of those. */
	contained: Entry[];
	/** Only a text that was cut short may have none rarer. */
	cutShort: Entry[];
}

/** A training text by the numbers that the index gave to its words and shingles; -1 for those of no held-out text. */
interface Read {
	words: readonly string[];
	ids: number[];
	/** The shingle that begins at each word but the last. */
	shingles: number[];
	known: Set<number>;
}

const isNumber = (word: string): boolean => /\p{N}/u.test(word);

/** An index over held-out texts. */
export class NearDuplicates {
	readonly #words = new Map<string, number>();
	readonly #shingles = new PairNumbers();
	/** Texts by their rarest shingles. */
	readonly #postings: (Posting | undefined)[] = [];
	#searches = 0;

	/** @param heldOut normalised texts, each once */
	constructor(heldOut: readonly string[]) {
		const numeric: boolean[] = [];
		const number = (word: string): number => {
			const known = this.#words.get(word);
			if (known !== undefined) return known;
			this.#words.set(word, numeric.length);
			return numeric.push(isNumber(word)) - 1;
		};
		const texts = heldOut.map((text) => text.split(" ").map(number));
		const boilerplate = boilerplateStarts(texts);
		const entries: Entry[] = [];
		const frequency: number[] = [];
		for (const [index, ids] of texts.entries()) {
			const shingles = this.#ownShingles(ids, boilerplate[index]!);
			if (ids.length < nearMinWords || shingles.length < nearMinWords - 1) continue;
			for (const shingle of shingles) frequency[shingle] = (frequency[shingle] ?? 0) + 1;
			entries.push({ index, words: ids.length, shingles, numbers: distinct(ids.filter((id) => numeric[id])), search: 0 });
		}
		for (const entry of entries) {
			entry.shingles.sort((a, b) => frequency[a]! - frequency[b]! || a - b);
			const size = entry.shingles.length;
			const mayLack = (share: number): number => size - Math.ceil(share * size);
			for (const [i, shingle] of entry.shingles.subarray(0, mayLack(cutShare) + 1).entries()) {
				const posting = this.#postings[shingle] ?? { contained: [], cutShort: [] };
				this.#postings[shingle] = posting;
				(i <= mayLack(nearShare) ? posting.contained : posting.cutShort).push(entry);
			}
		}
	}

	/** The shingles of a held-out text that no run of boilerplate covers. */
	#ownShingles(ids: readonly number[], boilerplate: readonly number[]): Int32Array {
		const own: number[] = [];
		let next = 0;
		for (let i = 0; i + 1 < ids.length; i++) {
			while (next < boilerplate.length && boilerplate[next]! + boilerplateWords < i + 2) next++;
			const covered = next < boilerplate.length && boilerplate[next]! <= i;
			if (!covered) own.push(this.#shingles.add(ids[i]!, ids[i + 1]!));
		}
		return distinct(own);
	}

	/** The held-out texts that this one nearly repeats, in the order of the index. Equal texts are among them. */
	find(normalised: string): NearMatch[] {
		const words = normalised.split(" ");
		const ids = words.map((word) => this.#words.get(word) ?? -1);
		const shingles = Array.from({ length: words.length - 1 }, (_, i) => this.#shingles.get(ids[i]!, ids[i + 1]!));
		const text: Read = { words, ids, shingles, known: new Set(shingles) };
		const found: NearMatch[] = [];
		const search = ++this.#searches;
		const look = (entry: Entry): void => {
			if (entry.search === search) return;
			entry.search = search;
			const share = shareOf(entry, text);
			if (share > 0) found.push({ index: entry.index, share });
		};
		// A text that was cut short has few shingles that are not in the whole one; -1 may be among the known.
		const least = nearShare * (text.known.size - 1);
		for (const shingle of text.known) {
			const posting = this.#postings[shingle];
			if (!posting) continue;
			for (const entry of posting.contained) look(entry);
			for (const entry of posting.cutShort) if (entry.shingles.length >= least) look(entry);
		}
		return found.sort((a, b) => a.index - b.index);
	}
}

const distinct = (ids: readonly number[]): Int32Array => Int32Array.from(new Set(ids));

/** The share of a held-out text's shingles that make it a near duplicate; 0 where it is none. */
function shareOf(entry: Entry, text: Read): number {
	const { shingles } = entry;
	let common = 0;
	for (const shingle of shingles) if (text.known.has(shingle)) common++;
	if (common < cutShare * shingles.length) return 0;
	if (common >= nearShare * shingles.length) {
		const share = densestStretch(entry, text);
		if (share > 0) return share;
	}
	return isCutShort(entry, text, common) ? common / shingles.length : 0;
}

/** Whether 3/4 of a text's shingles and numbers are in the held-out one. */
function isCutShort({ numbers }: Entry, { words, ids }: Read, common: number): boolean {
	if (words.length < nearMinWords) return false;
	const all = new Set(words.slice(1).map((word, i) => `${words[i]} ${word}`));
	if (common < nearShare * all.size) return false;
	const own = new Set(words.filter(isNumber));
	const told = new Set(ids.filter((id) => id >= 0 && numbers.includes(id)));
	return told.size >= nearShare * own.size;
}

/** The highest share of a held-out text's shingles in one stretch of a text that also has its numbers; 0 below `nearShare`. */
function densestStretch({ words, shingles, numbers }: Entry, text: Read): number {
	const stretch = Math.ceil(nearStretch * words);
	const inStretch = new Map<number, number>();
	for (const shingle of shingles) inStretch.set(shingle, 0);
	const numbersInStretch = new Map<number, number>();
	for (const number of numbers) numbersInStretch.set(number, 0);
	let best = 0;
	let found = 0;
	let told = 0;
	for (const [end, id] of text.ids.entries()) {
		told += enter(numbersInStretch, id);
		if (end > 0) found += enter(inStretch, text.shingles[end - 1]!);
		const start = end - stretch;
		if (start >= 0) {
			told -= leave(numbersInStretch, text.ids[start]!);
			found -= leave(inStretch, text.shingles[start]!);
		}
		if (found > best && found >= nearShare * shingles.length && told >= nearShare * numbers.length) best = found;
	}
	return best / shingles.length;
}

/** Counts an item that is looked for; 1 where it is the only one of its kind now. */
function enter(counts: Map<number, number>, item: number): 0 | 1 {
	const count = counts.get(item);
	if (count === undefined) return 0;
	counts.set(item, count + 1);
	return count === 0 ? 1 : 0;
}

/** Takes one back; 1 where it was the last of its kind. */
function leave(counts: Map<number, number>, item: number): 0 | 1 {
	const count = counts.get(item);
	if (count === undefined) return 0;
	counts.set(item, count - 1);
	return count === 1 ? 1 : 0;
}
