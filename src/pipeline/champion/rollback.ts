/**
 * Moving a champion link by hand: back to the champion before, or to a run that somebody chose; and finding the link.
 * @module
 */
import { existsSync, lstatSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { FintuneError } from "../../errors.js";
import { RunFolder } from "../folder.js";
import { lockRunFolder } from "../lock.js";
import { verifiedRun } from "../runs/reader.js";
import { Champion, type ChampionMove, championStack } from "./champion.js";

/** Others may be comparing their runs with it. */
const patience = { waitSeconds: 600 };

/**
 * Goes back to the champion before the present one.
 * @param tell what was noticed on the way
 * @throws FintuneError E_NOT_FOUND where there is none or its run is gone, E_CHECKSUM where it is damaged
 */
export async function rollBack(champion: Champion, tell: (message: string) => void): Promise<ChampionMove> {
	const { lock, state } = await champion.hold(tell, { ...patience, onWait: tell });
	try {
		const stack = championStack(state.moves);
		const [present, before] = [stack.at(-1), stack.at(-2)];
		if (!before) {
			throw new FintuneError("E_NOT_FOUND", "there is no champion to go back to", {
				where: champion.link,
				found: present ? `${present.run}, the first one` : "no champion at all",
			});
		}
		return await moveTo(champion, champion.folderOf(before.run), "rollback", state, before);
	} finally {
		lock.release();
	}
}

/** Makes a finished run the champion without a comparison. @throws FintuneError as {@link rollBack} does */
export async function setChampion(champion: Champion, run: string, tell: (message: string) => void): Promise<ChampionMove> {
	await verifiedRun(run); // before anything is made beside it
	const { lock, state } = await champion.hold(tell, { ...patience, onWait: tell });
	try {
		return await moveTo(champion, resolve(run), "set", state, {});
	} finally {
		lock.release();
	}
}

async function moveTo(
	champion: Champion,
	run: string,
	event: "rollback" | "set",
	state: Parameters<Champion["move"]>[2],
	{ metric, score, identity }: Partial<ChampionMove>,
): Promise<ChampionMove> {
	const facts = {
		...(metric === undefined ? {} : { metric }),
		...(score === undefined ? {} : { score }),
		...(identity === undefined ? {} : { identity }),
	};
	await verifiedRun(run);
	// Held until the link leads to it: retention looks at the links again once it holds a run.
	const lock = await lockRunFolder(run, { waitSeconds: 60 });
	try {
		// Retention finds the link in the run's own journal, wherever the link lies.
		await new RunFolder(run).journal({ event: "promotion", status: event, link: champion.link });
		return await champion.move(run, { event, ...facts }, state);
	} finally {
		lock.release();
	}
}

/**
 * The champion that a path means: the link itself, the one in a folder of runs, or the only one a folder deeper.
 * @throws FintuneError E_NOT_FOUND, or E_USAGE naming several
 */
export async function findChampion(path: string): Promise<Champion> {
	const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
	if (isLink || existsSync(`${path}.jsonl`)) return new Champion(path);
	const isThere = (folder: string): boolean =>
		existsSync(join(folder, "champion.jsonl")) ||
		(lstatSync(join(folder, "champion"), { throwIfNoEntry: false })?.isSymbolicLink() ?? false);
	if (isThere(path)) return new Champion(join(path, "champion"));
	const deeper = (await readdir(path, { withFileTypes: true }).catch(() => []))
		.filter((entry) => entry.isDirectory() && isThere(join(path, entry.name)))
		.map((entry) => join(path, entry.name))
		.sort();
	if (deeper.length === 1) return new Champion(join(deeper[0]!, "champion"));
	throw new FintuneError(deeper.length === 0 ? "E_NOT_FOUND" : "E_USAGE", "is not one champion", {
		where: path,
		expected: "a folder of runs with a link called champion, or the link itself",
		found: deeper.length === 0 ? "none" : `several: ${deeper.join(", ")}`,
		hint: deeper.length === 0 ? "promote: in a pipeline makes one, or fintune champion set RUN" : "name one of them",
	});
}
