/**
 * Finds a task by its short name (any case), by the leaderboard's id or by the name that the leaderboard writes.
 * @module
 */
import { FintuneError, nearestName } from "../errors.js";
import { unsupported } from "./board.js";
import { causalSc } from "./causal_sc.js";
import { cd } from "./cd.js";
import { australian, ccf, ccfraud, lendingclub, polish, portoseguro, taiwan, travelinsurance } from "./credit.js";
import { finargAcc, finargArc } from "./finarg.js";
import { finerOrd } from "./finer_ord.js";
import { finred } from "./finred.js";
import { fiqasa } from "./fiqasa.js";
import { fnxl } from "./fnxl.js";
import { fomc } from "./fomc.js";
import { fpb } from "./fpb.js";
import { fsrl } from "./fsrl.js";
import { german } from "./german.js";
import { headlines } from "./headlines.js";
import { ma } from "./ma.js";
import { mlesg } from "./mlesg.js";
import { multifin } from "./multifin.js";
import { ner } from "./ner.js";
import { convfinqa, finqa } from "./numeric_qa.js";
import { efp, efpa, financees, fns, multifinEs, tsaEs } from "./spanish.js";
import { acl18, bigdata22, cikm18 } from "./stock.js";
import { ectsum, edtsum } from "./summary_tasks.js";
import type { Task } from "./task.js";
import { tatqa } from "./tatqa.js";
import { tsa } from "./tsa.js";

/** Every task fintune knows, in the leaderboard's order. */
export const tasks: readonly Task[] = [
	...[fpb, fiqasa, tsa, headlines, fomc, finargAcc, finargArc, multifin, ma, mlesg],
	...[ner, finerOrd, finred, causalSc, cd, fnxl, fsrl, finqa, tatqa, convfinqa, edtsum, ectsum],
	...[bigdata22, acl18, cikm18, german, australian, lendingclub, ccf, ccfraud, polish, taiwan, portoseguro, travelinsurance],
	...[financees, multifinEs, efp, efpa, fns, tsaEs],
];

/** Names are compared without case, blanks, dashes and underscores. */
const plain = (name: string): string => name.toLowerCase().replace(/[\s_-]/g, "");

/**
 * The task called `name`: `ner`, `NER`, `flare_ner`; `FiQA-SA` for `fiqasa`; `causal20_sc`, `CC` for `sc`.
 * @throws FintuneError E_USAGE with the nearest name, or with the reason why the task is not there
 */
export function taskByName(name: string): Task {
	const wanted = plain(name);
	const namesOf = ({ name: short, id, board }: Task) => [
		...[short, id, id.replace(/^flare_/, ""), id.replace(/^flare_(?:cra|sm|es)_/, "")],
		...[board.boardName, board.hub, board.hub.replace(/^TheFinAI\//, ""), ...board.aliases],
	];
	const found = tasks.find((task) => namesOf(task).some((known) => plain(known) === wanted));
	if (found) return found;
	const without = unsupported.find((task) => plain(task.name) === wanted);
	if (without) throw new FintuneError("E_USAGE", `the task ${without.name} is not supported: ${without.reason}`);
	const nearest = nearestName(
		name.trim(),
		tasks.flatMap((task) => [task.name, task.id]),
	);
	const known = tasks.map((task) => task.name).join(", ");
	throw new FintuneError("E_USAGE", `no task is called "${name}"`, {
		expected: `one of ${known}`,
		...(nearest ? { hint: `did you mean "${nearest}"?` } : {}),
	});
}
