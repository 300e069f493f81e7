/**
 * Two systems' generations over the same documents, brought into one order.
 * @module
 */
import { FintuneError } from "../../errors.js";
import { type GenerationRow, parseGenerations } from "../evaluate_generations.js";
import { readText } from "../files.js";

/** Documents with both systems' outputs. */
export interface PairedOutputs {
	docs: Record<string, unknown>[];
	first: string[];
	second: string[];
}

/**
 * Reads two files of generations; documents are the same where all their columns are.
 * @throws FintuneError E_SCORING where a document of one is not in the other, E_DATA_EMPTY where there is none
 */
export async function pairGenerations(first: string, second: string): Promise<PairedOutputs> {
	const [a, b] = [await readRows(first), await readRows(second)];
	const open = new Map<string, GenerationRow[]>();
	for (const row of b) {
		const key = documentKey(row.doc);
		const known = open.get(key);
		if (known) known.push(row);
		else open.set(key, [row]);
	}
	const lonely: GenerationRow[] = [];
	const pairs = a.flatMap((row) => {
		const partner = open.get(documentKey(row.doc))?.shift();
		if (!partner) lonely.push(row);
		return partner ? [{ doc: row.doc, first: row.output, second: partner.output }] : [];
	});
	const others = [...open.values()].flat();
	if (lonely.length > 0 || others.length > 0) {
		throw new FintuneError("E_SCORING", "the two evaluations are not of the same documents", {
			where: (lonely[0] ?? others[0])?.where ?? first,
			expected: "every document of one in the other, once for once",
			found: `${lonely.length} only in ${first}, ${others.length} only in ${second}; the first of them is named above`,
			hint: "evaluate both with the same split, limit and seed",
		});
	}
	return { docs: pairs.map((p) => p.doc), first: pairs.map((p) => p.first), second: pairs.map((p) => p.second) };
}

async function readRows(file: string): Promise<GenerationRow[]> {
	const rows = parseGenerations(await readText(file), file);
	if (rows.length === 0) throw new FintuneError("E_DATA_EMPTY", "has no generations", { where: file });
	return rows;
}

/** A document's columns in one order, so that two files may write them in different ones. */
const documentKey = (doc: Record<string, unknown>): string =>
	JSON.stringify(Object.entries(doc).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
