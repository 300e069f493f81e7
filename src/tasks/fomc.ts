/**
 * FOMC: is a sentence of the US central bank hawkish, dovish or neutral (Shah et al. 2023), split of seed 5768, which is
 * the leaderboard's.
 * @module
 */
import { SeededRandom } from "../metrics/random.js";
import { ruleCTask } from "./classification.js";
import { choiceDoc, defineTask, type NativeSplit } from "./define.js";
import { badRow, findFile, readCsv } from "./files.js";
import { splitSeed } from "./splits.js";
import type { Split, Task } from "./task.js";

const labels = ["dovish", "hawkish", "neutral"] as const;

/** The leaderboard's ten wordings: opening, verb for HAWKISH, what is tightened, verb for DOVISH, word for NEUTRAL. */
const wordings: readonly string[] = [
	"Examine the excerpt from a central bank's release below. Classify it as HAWKISH if it advocates for a tightening of monetary " +
		"policy, DOVISH if it suggests an easing of monetary policy, or NEUTRAL if the stance is unbiased.",
	"Assess the following statement from a central bank's circular. Indicate it as HAWKISH if it conveys a tightening of monetary " +
		"policy, DOVISH if it insinuates an easing of monetary policy, or NEUTRAL if the stance is dispassionate.",
	"Review the sentence from a central bank's communiqué. Designate it as HAWKISH if it expresses a tightening of monetary policy, " +
		"DOVISH if it reveals an easing of monetary policy, or NEUTRAL if the stance is detached.",
	"Reflect on the given sentence from a central bank's announcement. Assign it as HAWKISH if it endorses a tightening of the " +
		"monetary policy, DOVISH if it indicates an easing of the monetary policy, or NEUTRAL if the stance is even-handed.",
	"Evaluate the provided sentence from a central bank's statement. Mark it as HAWKISH if it signifies a tightening of monetary " +
		"policy, DOVISH if it points towards an easing of monetary policy, or NEUTRAL if the stance is equanimous.",
	"Dissect the given sentence from a central bank's transcript. Tag it as HAWKISH if it denotes a tightening of monetary policy, " +
		"DOVISH if it implies an easing of monetary policy, or NEUTRAL if the stance is impartial.",
	"Analyse the following sentence from a central bank's report. Tag it as HAWKISH if it alludes to a tightening of the monetary " +
		"policy, DOVISH if it implies an easing of the monetary policy, or NEUTRAL if the stance is impartial.",
	"Study the sentence below from a central bank's briefing. Categorize it as HAWKISH if it promotes a tightening of monetary " +
		"policy, DOVISH if it represents an easing of monetary policy, or NEUTRAL if the stance is nonpartisan.",
	"Scrutinize the sentence provided from a central bank's press release. Determine it as HAWKISH if it proposes a tightening of " +
		"monetary policy, DOVISH if it discloses an easing of monetary policy, or NEUTRAL if the stance is unbiased.",
	"Consider the below statement from a central bank's bulletin. Identify it as HAWKISH if it supports a tightening of monetary " +
		"policy, DOVISH if it hints at an easing of monetary policy, or NEUTRAL if the stance is balanced.",
];

async function readNative(folder: string, split: Split): Promise<NativeSplit | undefined> {
	if (split === "valid") return undefined;
	const path = await findFile(folder, `${split}-5768.csv`);
	if (!path) return undefined;
	const records = await readCsv(path, ["sentence", "label"]);
	// The leaderboard drew a wording for each row; which one is not published, so a seeded draw stands in.
	const random = new SeededRandom(splitSeed, split === "test" ? 0 : 1);
	const rows = records.map(({ record, line }, i) => {
		const answer = labels[["0", "1", "2"].indexOf(record.label)];
		if (answer === undefined) throw badRow(path, line, "a label 0, 1 or 2", record.label);
		const wording = wordings[random.below(wordings.length)] as string;
		const query = `${wording} Your response should return only HAWKISH, DOVISH, or NEUTRAL.\nText: ${record.sentence}\nAnswer:`;
		return { query, answer, doc: choiceDoc(`fomc${i}`, record.sentence, labels, answer), source: { file: path, line } };
	});
	return { rows, files: [path] };
}

export const fomc: Task = defineTask({
	...ruleCTask,
	name: "fomc",
	id: "flare_fomc",
	title: "FOMC: monetary policy stance",
	license: "CC-BY-NC-4.0",
	redistributable: false,
	labels,
	folder: "fomc",
	nativeFiles: ["train-5768.csv", "test-5768.csv"],
	howToGet:
		"The sentences are in gtfintechlab/fomc-hawkish-dovish (CC BY-NC 4.0): export lab-manual-split-combine-{train,test}-5768.xlsx " +
		"as CSV with the columns sentence and label.",
	readNative,
});
