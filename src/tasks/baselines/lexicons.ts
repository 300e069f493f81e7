/**
 * Trivial answers to sequence tasks: names, tags and triplets that train has, wherever they occur.
 * @module
 */
import { pySplit } from "../../metrics/pytext.js";
import { rowText } from "../splits.js";
import type { TaskRow } from "../task.js";
import { type BaselineMaker, byFrequency, type TrivialBaseline, textList } from "./baseline.js";

/** A name of train with its most frequent type, and how often it has that type. */
interface LexiconEntry {
	name: string;
	type: string;
	count: number;
}

/** The names of train, most frequent first, from answers that are lines "name, TYPE". */
function namesOf(train: readonly TaskRow[]): LexiconEntry[] {
	const names = new Map<string, LexiconEntry>();
	for (const [line, count] of byFrequency(train.flatMap((row) => row.answer.split("\n").filter((line) => line !== "")))) {
		const comma = line.lastIndexOf(", ");
		const name = line.slice(0, comma);
		if (comma > 0 && count > (names.get(name)?.count ?? 0)) names.set(name, { name, type: line.slice(comma + 2), count });
	}
	return [...names.values()].sort((a, b) => b.count - a.count);
}

/** Lists of names of train, answered where they occur in the text. */
export const entityBaselines: BaselineMaker = (train, test) => {
	if (train.length === 0) return [];
	const names = namesOf(train);
	const lists = [
		{ title: "the 2 most frequent persons of train", entries: names.filter(({ type }) => type === "PER").slice(0, 2) },
		{ title: "the 3 most frequent names of train", entries: names.slice(0, 3) },
		{ title: "train lexicon of names seen twice", entries: names.filter(({ count }) => count >= 2) },
	];
	return lists.map(({ title, entries }) => ({
		kind: "lexicon",
		name: `${title} (${entries.length})`,
		outputs: test.map((row) => namesIn(String(row.doc.text), entries)),
	}));
};

/** The names that occur in the text, shorter ones first, because the board lets later lines win. */
function namesIn(text: string, entries: readonly LexiconEntry[]): string {
	const words = ` ${pySplit(text).join(" ")} `;
	return entries
		.filter(({ name }) => words.includes(` ${name} `))
		.sort((a, b) => a.name.length - b.name.length)
		.map(({ name, type }) => `${name}, ${type}`)
		.join("\n");
}

/** O for every token, and each token's most frequent tag of train. */
export const tagBaselines: BaselineMaker = (train, test) => {
	const answer = (tagOf: (token: string) => string): string[] =>
		test.map((row) => (textList(row, "token") ?? []).map((token) => `${token}:${tagOf(token)}`).join("\n"));
	const found: TrivialBaseline[] = [{ kind: "constant", name: "O for every token", outputs: answer(() => "O") }];
	const tagsOf = new Map<string, string[]>();
	for (const row of train) {
		const [tokens, tags] = [textList(row, "token") ?? [], textList(row, "label") ?? []];
		for (const [i, token] of tokens.entries()) {
			const tag = tags[i];
			if (tag === undefined) continue;
			const known = tagsOf.get(token);
			if (known) known.push(tag);
			else tagsOf.set(token, [tag]);
		}
	}
	if (tagsOf.size === 0) return found;
	const usual = new Map([...tagsOf].map(([token, tags]) => [token, byFrequency(tags)[0]![0]]));
	found.push({
		kind: "lexicon",
		name: `each token's most frequent tag of train (${usual.size} tokens)`,
		outputs: answer((token) => usual.get(token) ?? "O"),
	});
	return found;
};

/** Triplets of train whose head and tail both occur in the text. */
export const tripletBaselines: BaselineMaker = (train, test) => {
	const triplets = byFrequency(train.flatMap((row) => textList(row, "label") ?? [])).map(([line]) => {
		const [head = "", tail = ""] = line.split(" ; ");
		return { line, head, tail };
	});
	if (triplets.length === 0) return [];
	const heads = new Map<string, typeof triplets>();
	for (const triplet of triplets) {
		const known = heads.get(triplet.head);
		if (known) known.push(triplet);
		else heads.set(triplet.head, [triplet]);
	}
	return [
		{
			kind: "lexicon",
			name: `triplets of train whose head and tail occur (${triplets.length})`,
			outputs: test.map((row) => {
				const text = rowText(row);
				return [...heads]
					.filter(([head]) => text.includes(head))
					.flatMap(([, all]) => all.filter(({ tail }) => text.includes(tail)))
					.map(({ line }) => line)
					.join("\n");
			}),
		},
	];
};
