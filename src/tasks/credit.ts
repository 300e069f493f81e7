/**
 * Risk tasks of CALM (Feng et al. 2023): credit scoring, fraud, bankruptcy and insurance claims from a table's row in words.
 * @module
 */
import { choiceDoc, nativeLines } from "./define.js";
import { badRow } from "./files.js";
import { hubTask } from "./hub_task.js";
import { creditRule, withSynonyms } from "./option_rules.js";
import type { Split, Task, TaskRow } from "./task.js";

export const australian = hubTask({
	name: "australian",
	id: "flare_australian",
	title: "Australian: credit scoring",
	license: "CC-BY-4.0",
	rule: withSynonyms("good", "mcc", 20),
	labels: ["good", "bad"],
});

const risk = (name: string, id: string, title: string, labels: readonly string[], license?: string): Task =>
	hubTask({ name, id, title, rule: creditRule, labels, ...(license === undefined ? {} : { license }) });

export const lendingclub = risk("lendingclub", "flare_cra_lendingclub", "LendingClub: loans", ["good", "bad"]);
export const ccf = risk("ccf", "flare_cra_ccf", "ccf: credit card fraud", ["yes", "no"]);
export const polish = risk("polish", "flare_cra_polish", "polish: bankruptcy", ["no", "yes"], "CC-BY-4.0");
export const taiwan = risk("taiwan", "flare_cra_taiwan", "taiwan: bankruptcy", ["no", "yes"]);
export const portoseguro = risk("portoseguro", "flare_cra_portoseguro", "portoseguro: insurance claims", ["yes", "no"]);
export const travelinsurance = risk("travelinsurance", "flare_cra_travelinsurace", "travelinsurance: claims", ["yes", "no"]);

const fraudLabels = ["good", "bad"] as const;
const fraudFile: Partial<Record<Split, string>> = { train: "ccfraud_train.csv", test: "ccfraud_test.csv" };

const fraudPrompt = (text: string): string =>
	"Detect the credit card fraud with the following financial profile. Respond with only 'good' or 'bad', and do not provide any " +
	"additional information. For instance, 'The client is a female, the state number is 25, the number of cards is 1, the credit " +
	"balance is 7000, the number of transactions is 16, the number of international transactions is 0, the credit limit is 6.' " +
	`should be classified as 'good'. \nText: '${text}' \nAnswer:`;

/**
 * gender, state, cards, balance, transactions, international ones, credit line, 1 for fraud. The leaderboard's prompts call
 * every client female, whatever the file says.
 */
function fraudRow(raw: string, file: string, line: number): TaskRow {
	const values = raw.split(",").map((value) => value.trim());
	const [, state, cards, balance, transactions, international, limit, fraud] = values;
	if (values.length !== 8 || !values.every((value) => /^\d+$/.test(value)) || (fraud !== "0" && fraud !== "1")) {
		throw badRow(file, line, "8 whole numbers, the last 0 or 1", raw);
	}
	const text =
		`The client is a female, the state number is ${state}, the number of cards is ${cards}, the ` +
		`credit balance is ${balance}, the number of transactions is ${transactions}, the number of international transactions is ` +
		`${international}, the credit limit is ${limit}.`;
	const answer = fraud === "1" ? "bad" : "good";
	return {
		query: fraudPrompt(text),
		answer,
		doc: choiceDoc(`ccfraud${line - 1}`, text, fraudLabels, answer),
		source: { file, line },
	};
}

export const ccfraud = hubTask({
	name: "ccfraud",
	id: "flare_cra_ccfraud",
	title: "ccfraud: credit card fraud",
	rule: creditRule,
	labels: fraudLabels,
	native: {
		folder: "ccfraud",
		files: Object.values(fraudFile),
		read: (folder, split) => nativeLines(folder, fraudFile[split], fraudRow),
	},
	howToGet: "The-FinAI/CALM, src/bias/bias_data: ccfraud_train.csv and ccfraud_test.csv.",
});
