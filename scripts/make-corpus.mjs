/**
 * Makes data/pretrain/corpus.jsonl.gz, the text that the embedded base model is trained on, from freely licensed sets:
 * the train splits of the task data in data/ (no row whose text is in a test split), and FinQA's validation contexts
 * (MIT), read from a folder given as argument. The result is committed, so this is run again only to change it.
 *   npm run build:ts && node scripts/make-corpus.mjs FOLDER_WITH_pixiu_finqa_valid.jsonl.gz
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { containmentFinder } from "../dist/data/decontaminate.js";
import { normaliseText } from "../dist/data/normalise.js";
import { taskByName } from "../dist/tasks/registry.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const dataDirs = [join(root, "data")];
const finqaFolder = process.argv[2];
if (!finqaFolder) throw new Error("name the folder that holds pixiu_finqa_valid.jsonl.gz");
const germanRows = 150; // alike among themselves: more would only teach the form

const heldOut = [];
for (const name of ["ner", "sc", "german"])
	heldOut.push(...(await taskByName(name).load("test", dataDirs)).map((row) => row.doc.text));
const whole = new Set(heldOut.map(normaliseText));
const contains = containmentFinder(heldOut);
/** No test row, whole or inside a longer text. */
const allowed = (text) => !whole.has(normaliseText(text)) && !contains(text);

const texts = [];
const add = (source, text) => {
	const clean = text.trim();
	// Checked again as a whole: a test text may span two sentences.
	if (clean !== "" && allowed(clean)) texts.push({ source, text: clean });
};

for (const row of await taskByName("ner").load("train", dataDirs)) add("ner_sec", row.doc.text);
for (const row of await taskByName("ner").load("valid", dataDirs)) add("ner_sec", row.doc.text);
// Neighbouring sentences of one file make longer texts, so that the model sees more than one sentence.
const sentences = (await taskByName("sc").load("train", dataDirs)).map((row) => row.doc.text.trim()).filter(allowed);
for (let i = 0; i < sentences.length; i += 4) add("fincausal_sc", sentences.slice(i, i + 4).join(" "));
for (const row of (await taskByName("german").load("train", dataDirs)).slice(0, germanRows)) add("credit_german", row.doc.text);
const seen = new Set();
for (const line of gunzipSync(readFileSync(join(finqaFolder, "pixiu_finqa_valid.jsonl.gz")))
	.toString()
	.split("\n")) {
	if (line === "") continue;
	const context = /Context: ([\s\S]*)\nQuestion:/.exec(JSON.parse(line).conversations[0].value)?.[1];
	if (context === undefined || seen.has(context)) continue; // one page, several questions
	seen.add(context);
	add("finqa", context);
}

const body = texts.map((row) => `${JSON.stringify(row)}\n`).join("");
writeFileSync(join(root, "data", "pretrain", "corpus.jsonl.gz"), gzipSync(body, { level: 9 }));
const counts = {};
for (const { source, text } of texts) counts[source] = [(counts[source]?.[0] ?? 0) + 1, (counts[source]?.[1] ?? 0) + text.length];
process.stdout.write(
	`${JSON.stringify({ texts: texts.length, characters: texts.reduce((n, t) => n + t.text.length, 0), counts })}\n`,
);
