/**
 * The Open FinLLM Leaderboard's tasks as its contest notebook lists them: names, hub data sets, sizes, what is shown, and
 * the letter of the scoring rule (`rules.ts` says each in words).
 * @module
 */

/** TA text analysis, IE information extraction, QA question answering, TG text generation, FO forecasting, RM risk management, ES Spanish. */
export type Category = "TA" | "IE" | "QA" | "TG" | "FO" | "RM" | "ES";
export const categoryNames: Record<Category, string> = {
	TA: "text analysis",
	IE: "information extraction",
	QA: "question answering",
	TG: "text generation",
	FO: "forecasting",
	RM: "risk management",
	ES: "Spanish",
};
export type RuleLetter = "C" | "H" | "M" | "T" | "N" | "S" | "R" | "Q" | "A" | "X" | "E";

export interface BoardEntry {
	/** Place in the leaderboard's list. */
	number: number;
	/** As the leaderboard writes it. */
	boardName: string;
	/** Data set on the hub. */
	hub: string;
	category: Category;
	rule: RuleLetter;
	/** The column that the leaderboard shows, by its own name. */
	shown: string;
	/** Rows of the hub's splits; undefined where the hub has none. */
	sizes: { train?: number; valid?: number; test: number };
	/** Further names that the task goes by. */
	aliases: readonly string[];
}

const testOnly = (test: number) => ({ test });
const split = (train: number, valid: number, test: number) => ({ train, valid, test });

type Line = [
	id: string,
	boardName: string,
	hub: string,
	category: Category,
	rule: RuleLetter,
	shown: string,
	sizes: BoardEntry["sizes"],
	...aliases: string[],
];

const lines: readonly Line[] = [
	["flare_fpb", "FPB", "flare-fpb", "TA", "C", "F1", split(3100, 776, 970), "en-fpb"],
	["flare_fiqasa", "FiQA-SA", "flare-fiqasa", "TA", "C", "F1", split(750, 188, 235), "en-fiqasa"],
	["flare_tsa", "TSA", "flare-tsa", "TA", "T", "RMSE", testOnly(561)],
	["flare_headlines", "Headlines", "flare-headlines", "TA", "H", "AvgF1", split(71892, 10269, 20547)],
	["flare_fomc", "FOMC", "finben-fomc", "TA", "C", "F1", testOnly(496)],
	["flare_finarg_ecc_auc", "FinArg-ACC", "flare-finarg-ecc-auc", "TA", "C", "MicroF1", { train: 7753, test: 969 }],
	["flare_finarg_ecc_arc", "FinArg-ARC", "flare-finarg-ecc-arc", "TA", "C", "MicroF1", testOnly(690)],
	["flare_multifin_en", "MultiFin", "flare-multifin-en", "TA", "C", "MicroF1", testOnly(546)],
	["flare_ma", "MA", "flare-ma", "TA", "C", "MicroF1", testOnly(500)],
	["flare_mlesg", "MLESG", "flare-mlesg", "TA", "C", "MicroF1", testOnly(300)],
	["flare_ner", "NER", "flare-ner", "IE", "N", "EntityF1", split(408, 103, 98)],
	["flare_finer_ord", "FINER-ORD", "finben-finer-ord", "IE", "S", "EntityF1", testOnly(1075)],
	["flare_finred", "FinRED", "flare-finred", "IE", "R", "F1", testOnly(1068)],
	["flare_causal20_sc", "SC", "flare-causal20-sc", "IE", "C", "F1", testOnly(8628), "CC"],
	["flare_cd", "CD", "flare-cd", "IE", "S", "F1", testOnly(226)],
	["flare_fnxl", "FNXL", "flare-fnxl", "IE", "S", "EntityF1", testOnly(318)],
	["flare_fsrl", "FSRL", "flare-fsrl", "IE", "S", "EntityF1", testOnly(97)],
	["flare_finqa", "FinQA", "flare-finqa", "QA", "Q", "EmAcc", split(6251, 883, 1147)],
	["flare_tatqa", "TATQA", "flare-tatqa", "QA", "Q", "EmAcc", testOnly(1668)],
	["flare_convfinqa", "ConvFinQA", "flare-convfinqa", "QA", "Q", "EmAcc", split(8891, 2213, 1490)],
	["flare_edtsum", "EDTSUM", "flare-edtsum", "TG", "A", "Rouge-1", testOnly(2000)],
	["flare_ectsum", "ECTSUM", "flare-ectsum", "TG", "X", "Rouge-1", testOnly(495)],
	["flare_sm_bigdata", "BigData22", "flare-sm-bigdata", "FO", "M", "Acc", split(4897, 798, 1472)],
	["flare_sm_acl", "ACL18", "flare-sm-acl", "FO", "M", "Acc", split(20781, 2555, 3720)],
	["flare_sm_cikm", "CIKM18", "flare-sm-cikm", "FO", "M", "Acc", split(3396, 431, 1143)],
	["flare_german", "German", "flare-german", "RM", "M", "MCC", split(700, 100, 200)],
	["flare_australian", "Australian", "flare-australian", "RM", "M", "MCC", split(482, 69, 139)],
	["flare_cra_lendingclub", "LendingClub", "cra-lendingclub", "RM", "C", "MCC", split(9417, 1345, 2691)],
	["flare_cra_ccf", "ccf", "cra-ccf", "RM", "C", "MCC", split(7974, 1139, 2279)],
	["flare_cra_ccfraud", "ccfraud", "cra-ccfraud", "RM", "C", "MCC", split(7339, 1048, 2098)],
	["flare_cra_polish", "polish", "cra-polish", "RM", "C", "MCC", split(6076, 868, 1737)],
	["flare_cra_taiwan", "taiwan", "cra-taiwan", "RM", "C", "MCC", split(4773, 681, 1365)],
	["flare_cra_portoseguro", "portoseguro", "cra-portoseguro", "RM", "C", "MCC", split(8333, 1190, 2381)],
	["flare_cra_travelinsurace", "travelinsurance", "cra-travelinsurace", "RM", "C", "MCC", split(8865, 1266, 2534)],
	["flare_es_financees", "FinanceES", "flare-es-financees", "ES", "E", "F1", testOnly(6359)],
	["flare_es_multifin", "MultiFin-ES", "flare-es-multifin", "ES", "E", "F1", testOnly(230), "ES_Multifin"],
	["flare_es_efp", "EFP", "flare-es-efp", "ES", "E", "F1", testOnly(37), "ES_EFP"],
	["flare_es_efpa", "EFPA", "flare-es-efpa", "ES", "E", "F1", testOnly(228), "ES_EFPA"],
	["flare_es_fns", "FNS", "flare-es-fns", "ES", "E", "Rouge-1", testOnly(50), "ES_FNS"],
	["flare_es_tsa", "TSA-ES", "flare-es-tsa", "ES", "E", "F1", testOnly(3829), "ES_TSA"],
];

/** Places in the list: Regulations, which is not to be had, is number 21. */
const numberOf = (index: number): number => (index < 20 ? index + 1 : index + 2);

/** The leaderboard's entries by their id in its registry. */
export const board: ReadonlyMap<string, BoardEntry> = new Map(
	lines.map(([id, boardName, hub, category, rule, shown, sizes, ...aliases], i) => [
		id,
		{ number: numberOf(i), boardName, hub: `TheFinAI/${hub}`, category, rule, shown, sizes, aliases },
	]),
);

/** Tasks of the leaderboard that cannot be had, with the reason. */
export const unsupported: readonly { number?: number; name: string; reason: string }[] = [
	{
		number: 21,
		name: "Regulations",
		reason:
			"the leaderboard shows results of it, but neither its data set nor its code is public: there is no prompt, no row and no " +
			"scoring rule to reproduce",
	},
	{
		name: "FinTrade",
		reason:
			"it is a trading simulation scored by the Sharpe ratio of an agent with tools and market data, not a set of prompts with " +
			"answers; the contest's list of 41 does not hold it",
	},
];
