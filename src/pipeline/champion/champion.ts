/**
 * The champion of a pipeline: a link beside its run folders that leads to the best run. The link alone says who it is, and
 * moves in one step. LINK.jsonl remembers every move, so that a rollback knows the way: a move is made first and written
 * down next, and what a kill in between has left out is taken up, and told, by whoever comes next.
 * @module
 */
import { existsSync } from "node:fs";
import { lstat, readdir, readlink, realpath, rename, symlink } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { isTemporary, removeFolder, syncFolder, temporaryPath } from "../../engine/files.js";
import type { FileLock } from "../../engine/lock_file.js";
import { FintuneError, fromSystemError } from "../../errors.js";
import { appendJsonLine, dropTornLine, makeFolder, readWholeLines } from "../../stages/files.js";
import { RunFolder } from "../folder.js";
import { holdFile, type LockOptions } from "../lock.js";
import type { PromotionFacts } from "../types.js";

/** One line of the history. */
export interface ChampionMove extends Partial<PromotionFacts> {
	/** ISO 8601. */
	time: string;
	/** `found`: somebody moved the link by other means. */
	event: "first" | "promoted" | "set" | "rollback" | "found";
	/** Runs as the link has them: relative to its folder where they lie in it. */
	run: string;
	previous: string | null;
	/** Written down later, by whoever came next. */
	recovered?: true;
}

export interface ChampionState {
	/** Folder of the champion's run, there or not; undefined: no link. */
	run?: string;
	/** Whether that folder is there. */
	present: boolean;
	moves: ChampionMove[];
}

/** The champions one above the other, the present one last: a rollback takes the last one away. */
export function championStack(moves: readonly ChampionMove[]): ChampionMove[] {
	const stack: ChampionMove[] = [];
	for (const move of moves) {
		const below = move.event === "rollback" ? stack.findLastIndex((m) => m.run === move.run) : -1;
		if (below >= 0) stack.length = below + 1;
		else if (stack.at(-1)?.run === move.run) stack[stack.length - 1] = move;
		else stack.push(move);
	}
	return stack;
}

/** The rollback that took a run of this identity away, where it has not been champion again since. */
export function rolledBack(moves: readonly ChampionMove[], identity: string): ChampionMove | undefined {
	const standsAfter = (count: number): boolean => championStack(moves.slice(0, count)).some((move) => move.identity === identity);
	let by: ChampionMove | undefined;
	for (const [i, move] of moves.entries()) {
		if (standsAfter(i + 1)) by = undefined;
		else if (move.event === "rollback" && standsAfter(i)) by = move;
	}
	return by;
}

export class Champion {
	/** Absolute. */
	readonly link: string;
	readonly history: string;

	constructor(link: string) {
		this.link = resolve(link);
		this.history = `${this.link}.jsonl`;
	}

	/** Where a run's champion is unless the pipeline says otherwise. */
	static beside(runFolder: string): Champion {
		return new Champion(join(dirname(resolve(runFolder)), "champion"));
	}

	/** The folder of a run that the link or the history names. */
	folderOf(run: string): string {
		return resolve(dirname(this.link), run);
	}

	/** @throws FintuneError E_CANNOT_CREATE where something else has the link's name */
	async read(): Promise<ChampionState> {
		const moves = (await readWholeLines(this.history)) as unknown as ChampionMove[];
		const target = await this.#target();
		if (target === undefined) return { present: false, moves };
		const run = this.folderOf(target);
		return { run, present: existsSync(run), moves };
	}

	/** Whether the link leads to this folder. */
	async is(runFolder: string): Promise<boolean> {
		const { run, present } = await this.read();
		return present && existsSync(runFolder) && (await realpath(run!)) === (await realpath(runFolder));
	}

	/**
	 * The state under the lock that every move needs, with the history in step with the link.
	 * @param tell what was taken up
	 * @throws FintuneError E_LOCKED
	 */
	async hold(tell: (message: string) => void, options: LockOptions = {}): Promise<{ lock: FileLock; state: ChampionState }> {
		const folder = dirname(this.link);
		await makeFolder(folder);
		const words = { where: this.link, who: "process", what: "champion" };
		const lock = await holdFile(join(folder, `.${basename(this.link)}.lock`), words, options);
		try {
			for (const name of await readdir(folder)) {
				if (name.startsWith(`.${basename(this.link)}.`) && isTemporary(name)) await removeFolder(join(folder, name));
			}
			if (await dropTornLine(this.history)) tell(`${this.history}: its torn last line was dropped`);
			const state = await this.read();
			const missed = await this.#missedMove(state);
			if (missed) {
				await appendJsonLine(this.history, missed);
				state.moves.push(missed);
				tell(`${this.link} leads to ${missed.run}, which its history did not know: written down as ${missed.event}`);
			}
			return { lock, state };
		} catch (error) {
			lock.release();
			throw fromSystemError(error, this.link);
		}
	}

	/** Moves the link, then writes it down. Only under the lock. */
	async move(
		runFolder: string,
		move: Omit<ChampionMove, "time" | "run" | "previous">,
		state: ChampionState,
	): Promise<ChampionMove> {
		const temporary = temporaryPath(this.link);
		const run = await this.#nameOf(runFolder);
		try {
			await symlink(run, temporary);
			await rename(temporary, this.link);
			await syncFolder(dirname(this.link));
		} catch (error) {
			throw fromSystemError(error, this.link);
		}
		const previous = championStack(state.moves).at(-1)?.run ?? null;
		const { event, ...facts } = move;
		const written: ChampionMove = { time: new Date().toISOString(), event, run, previous, ...facts };
		await appendJsonLine(this.history, written);
		return written;
	}

	/** How the link names a run: relative where it lies below, so that the whole folder can move. */
	async #nameOf(runFolder: string): Promise<string> {
		const [here, run] = [await realpath(dirname(this.link)), await realpath(runFolder)];
		return run.startsWith(`${here}/`) ? relative(here, run) : run;
	}

	async #target(): Promise<string | undefined> {
		try {
			if (!(await lstat(this.link)).isSymbolicLink()) {
				throw new FintuneError("E_CANNOT_CREATE", "is not a link", {
					where: this.link,
					expected: "a symbolic link to the champion's run, or nothing of this name",
					hint: "rename it, or name another place with promote.champion",
				});
			}
			return await readlink(this.link);
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
			throw fromSystemError(error, this.link);
		}
	}

	/** The move that the link has made and the history does not have. */
	async #missedMove({ run, present, moves }: ChampionState): Promise<ChampionMove | undefined> {
		const stack = championStack(moves);
		const [top, below] = [stack.at(-1), stack.at(-2)];
		if (run === undefined || !present || (top && this.folderOf(top.run) === run)) return undefined;
		const common = {
			time: new Date().toISOString(),
			run: below && this.folderOf(below.run) === run ? below.run : await this.#nameOf(run),
			previous: top?.run ?? null,
			recovered: true,
		} as const;
		if (common.run === below?.run) return { ...common, event: "rollback" };
		const decided = (await new RunFolder(run).events()).findLast((e) => e.event === "promotion" && e.link === this.link);
		if (decided?.facts === undefined) return { ...common, event: "found" };
		return { ...common, event: top ? "promoted" : "first", ...(decided.facts as PromotionFacts) };
	}
}
