/**
 * German: is a bank's customer a good or a bad credit risk (UCI Statlog German Credit), in the leaderboard's split:
 * 700 train and 200 test rows are listed, the 100 that are in neither are validation.
 * @module
 */
import { classificationMetrics, classificationStrictRules, ruleM } from "./classification.js";
import { choiceDoc, defineTask, type NativeSplit } from "./define.js";
import { badRow, filledLines, findFiles, type NumberedLine } from "./files.js";
import type { Split, Task, TaskRow } from "./task.js";

const labels = ["good", "bad"] as const;

const prompt = (text: string): string =>
	"Evaluate the creditworthiness of a customer with the following financial profile. Respond with only either 'good' or 'bad'. " +
	"For instance, 'The client has a stable income, no previous debts, and owns a property.' should be classified as 'good'. \n" +
	`Text: '${text}'\nAnswer:`;

/** The attributes in column order, with the leaderboard's spelling (two blanks before "Other debtors" included). */
const attributes: readonly string[] = [
	"Status of existing checking account",
	"Duration in month",
	"Credit history",
	"Purpose",
	"Credit amount",
	"Savings account or bonds",
	"Present employment since",
	"Installment rate in percentage of disposable income",
	"Personal status and sex",
	" Other debtors or guarantors",
	"Present residence since",
	"Property",
	"Age in years",
	"Other installment plans",
	"Housing",
	"Number of existing credits at this bank",
	"Job",
	"Number of people being liable to provide maintenance for",
	"Telephone",
	"foreign worker",
];

/** What a code means, in the leaderboard's words (its spelling and blanks kept). */
const meanings: Record<string, string> = {
	A11: "smaller than 0 DM",
	A12: "bigger than 0 DM but smaller than 200 DM",
	A13: "bigger than 200 DM OR salary assignments for at least 1 year",
	A14: "no checking account",
	A30: "no credits taken or all credits paid back duly",
	A31: "all credits at this bank paid back duly",
	A32: "existing credits paid back duly till now",
	A33: "delay in paying off in the past",
	A34: "critical account or other credits existing (not at this bank)",
	A40: "car (new)",
	A41: "car (used)",
	A42: "furniture or equipment",
	A43: "radio or television",
	A44: "domestic appliances",
	A45: "repairs",
	A46: "education",
	A48: "retraining",
	A49: "business",
	A410: "others",
	A61: "smaller than 100 DM",
	A62: "bigger than 100 smaller than  500 DM",
	A63: "bigger than 500 smaller than 1000 DM",
	A64: "bigger than 1000 DM",
	A65: "unknown or no savings account",
	A71: "unemployed",
	A72: "smaller than 1 year",
	A73: "bigger than 1  smaller than 4 years",
	A74: "bigger than 4  smaller than 7 years",
	A75: "bigger than 7 years",
	A91: "male: divorced or separated",
	A92: "female: divorced or separated or married",
	A93: "male and single",
	A94: "male and married or widowed",
	A101: "none",
	A102: "co-applicant",
	A103: "guarantor",
	A121: "real estate",
	A122: "building society savings agreement or life insurance",
	A123: "car or other",
	A124: "unknown or no property",
	A141: "bank",
	A142: "stores",
	A143: "none",
	A151: "rent",
	A152: "own",
	A153: "for free",
	A171: "unemployed or unskilled or non-resident",
	A172: "unskilled or resident",
	A173: "skilled employee or official",
	A174: "management or self-employed or highly qualified employee or officer",
	A191: "none",
	A192: "yes, registered under the customers name",
	A201: "yes",
	A202: "no",
};

const names = { train: "german_train.csv", test: "german_test.csv", all: "german.data" };

function toRow({ text: raw, line }: NumberedLine, file: string): TaskRow {
	const values = raw.trim().split(/[,\s]+/);
	const answer = values[20] === "1" ? "good" : values[20] === "2" ? "bad" : undefined;
	if (values.length !== 21 || answer === undefined) throw badRow(file, line, "20 attributes and 1 (good) or 2 (bad)", raw);
	const sentences = attributes.map((attribute, i) => {
		const value = values[i] as string;
		const meaning = /^\d+$/.test(value) ? value : meanings[value];
		if (meaning === undefined) throw badRow(file, line, `a known code for "${attribute.trim()}"`, value);
		return `The state of ${attribute} is ${meaning}. `;
	});
	const text = sentences.join("");
	return { query: prompt(text), answer, doc: choiceDoc(`german${line - 1}`, text, labels, answer), source: { file, line } };
}

async function readRows(path: string): Promise<TaskRow[]> {
	return (await filledLines(path)).map((line) => toRow(line, path));
}

async function readNative(folder: string, split: Split): Promise<NativeSplit | undefined> {
	const wanted = split === "valid" ? [names.train, names.test, names.all] : [names[split]];
	const files = await findFiles(folder, wanted);
	if (!files) return undefined;
	const [first = [], test = [], all = []] = await Promise.all(files.map(readRows));
	if (split !== "valid") return { rows: first, files };
	const used = new Set([...first, ...test].map((row) => `${row.query} ${row.answer}`));
	return { rows: all.filter((row) => !used.has(`${row.query} ${row.answer}`)), files };
}

export const german: Task = defineTask({
	name: "german",
	id: "flare_german",
	title: "German: credit scoring",
	license: "CC-BY-4.0",
	redistributable: true,
	headline: "mcc",
	metrics: classificationMetrics,
	defaultMaxNewTokens: 20,
	strictRules: classificationStrictRules,
	labels,
	folder: "credit_german",
	nativeFiles: Object.values(names),
	howToGet: "The three files come with fintune (data/credit_german); the original is UCI's Statlog (German Credit Data).",
	readNative,
	columns: ["choices", "gold"],
	scorer: ruleM("good"),
});
