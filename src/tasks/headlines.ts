/**
 * Headlines: nine yes/no questions about each headline on gold (Sinha & Khandait 2021). File order is the leaderboard's:
 * 7,988 headlines for train, 1,141 for validation, 2,283 for test.
 * @module
 */
import { SeededRandom } from "../metrics/random.js";
import { choiceDoc, defineTask, type NativeSplit } from "./define.js";
import { badRow, findFile, readCsv } from "./files.js";
import { headlinesStrictRules, ruleH } from "./headlines_scoring.js";
import { splitSeed } from "./splits.js";
import type { Split, Task, TaskRow } from "./task.js";

const labels = ["Yes", "No"] as const;

/** The nine questions in the leaderboard's order; "Asset Comparision" is its spelling. */
const questions = [
	{ column: "PriceOrNot", type: "Price or Not", hint: "Consider whether the headline mentions the price of gold." },
	{ column: "DirectionUp", type: "Direction Up", hint: "Look for indications that the price of gold is increasing." },
	{ column: "DirectionDown", type: "Direction Down", hint: "Look for indications that the price of gold is decreasing." },
	{ column: "DirectionConstant", type: "Direction Constant", hint: "Look for indications that the price of gold is stable." },
	{ column: "PastPrice", type: "PastPrice", hint: "Consider whether the headline references past prices of gold." },
	{ column: "FuturePrice", type: "FuturePrice", hint: "Look for any mention of future gold prices." },
	{ column: "PastNews", type: "PastNews", hint: "Consider whether the headline discusses past events related to gold." },
	{ column: "FutureNews", type: "FutureNews", hint: "Look for any references to future events concerning gold." },
	{ column: "AssetComparision", type: "Asset Comparision", hint: "Consider if the headline compares gold with other assets." },
] as const;

/** The leaderboard's ten wordings of a question. */
const wordings: readonly ((type: string) => string)[] = [
	(type) => `Can a ${type} in the gold market be inferred from the news headline? Your response should be either Yes or No.`,
	(type) => `Does the news headline indicate a ${type} in the context of gold commodities? Your answer should be Yes or No.`,
	(type) => `Does the news headline mention anything about a ${type} in gold commodities? Please answer Yes or No.`,
	(type) => `Does the news headline provide information on a ${type} regarding gold? Your answer should be either Yes or No.`,
	(type) => `Does the news headline suggest a ${type} for gold? Your response should be Yes or No.`,
	(type) => `In the context of gold, is there a ${type} implied in the news headline? Respond with Yes or No.`,
	(type) => `In the news headline, can you identify a ${type} pertaining to gold? Your response should be Yes or No.`,
	(type) => `Is the news headline discussing a ${type} related to gold? Please respond with Yes or No.`,
	(type) => `Is there a ${type} in the gold commodity market indicated in the news headline? Please answer Yes or No.`,
	(type) => `Is there a mention of a ${type} in relation to gold in the news headline? Please answer with Yes or No.`,
];

const shares: Record<Split, readonly [number, number]> = { train: [0, 7988], valid: [7988, 9129], test: [9129, 11412] };

/** Every wording of every question about a headline, in the leaderboard's form. */
export function headlinePrompts(headline: string): string[] {
	return questions.flatMap((question) => wordings.map((wording) => headlinePrompt(question, wording, headline)));
}

function headlinePrompt(question: { type: string; hint: string }, wording: (type: string) => string, headline: string): string {
	return `${question.hint}. ${wording(question.type)}\nText: ${headline}\nAnswer:`;
}

async function readNative(folder: string, split: Split): Promise<NativeSplit | undefined> {
	const path = await findFile(folder, "headlines.csv");
	if (!path) return undefined;
	const records = await readCsv(path, ["News", ...questions.map((question) => question.column)]);
	const [from, to] = shares[split];
	const rows: TaskRow[] = [];
	records.slice(from, to).forEach(({ record, line }, i) => {
		// The wording of each question was drawn at random; a stream per headline keeps it the same in any excerpt.
		const random = new SeededRandom(splitSeed, from + i);
		for (const [k, question] of questions.entries()) {
			const mark = record[question.column];
			if (mark !== "0" && mark !== "1") throw badRow(path, line, `${question.column} 0 or 1`, mark);
			const answer = mark === "1" ? "Yes" : "No";
			const wording = wordings[random.below(wordings.length)] as (type: string) => string;
			const id = `headlines${(from + i) * questions.length + k}`;
			rows.push({
				query: headlinePrompt(question, wording, record.News),
				answer,
				doc: { ...choiceDoc(id, record.News, labels, answer), label_type: question.type },
				source: { file: path, line },
			});
		}
	});
	return { rows, files: [path] };
}

export const headlines: Task = defineTask({
	name: "headlines",
	id: "flare_headlines",
	title: "Headlines: questions about gold news",
	license: "CC-BY-SA-3.0",
	redistributable: false,
	headline: "avg_f1",
	metrics: {
		avg_f1: { higherIsBetter: true },
		acc: { higherIsBetter: true },
		missing: { higherIsBetter: false },
		ambiguous: { higherIsBetter: false },
	},
	defaultMaxNewTokens: 20,
	strictRules: headlinesStrictRules,
	labels,
	folder: "headlines",
	nativeFiles: ["headlines.csv"],
	howToGet:
		"headlines.csv (Sinha & Khandait 2021, CC BY-SA 3.0) has the columns News, PriceOrNot, DirectionUp ... AssetComparision.",
	readNative,
	columns: ["gold", "label_type"],
	scorer: ruleH,
});
